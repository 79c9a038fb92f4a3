#include "pgqueue/queue/admin.hpp"

#include "pgqueue/page/transaction.hpp"
#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/progress.hpp"
#include "pgqueue/pg/run_as.hpp"
#include "pgqueue/queue/ack.hpp"
#include "pgqueue/queue/row_state.hpp"

namespace pgqueue::queue {
namespace {

// The quoted, schema-qualified names of a queue's relations, for SQL.
struct Names {
    const char* parent;
    const char* segment;  // the first
    const char* archive;
    const char* sequence;
    Oid parent_oid;
};

const char* Qualified(const char* relation) { return psprintf("%s.%s", kSchema, quote_identifier(relation)); }

Names NamesOf(const char* queue) {
    char parent[NAMEDATALEN];
    char segment[NAMEDATALEN];
    char archive[NAMEDATALEN];
    char sequence[NAMEDATALEN];
    ParentName(queue, parent);
    SegmentName(queue, 1, segment);
    ArchiveName(queue, archive);
    SequenceName(queue, sequence);
    return {Qualified(parent), Qualified(segment), Qualified(archive), Qualified(sequence),
            pg::RelationIn(kSchema, parent)};
}

Oid OidOf(const char* queue, void (*namer)(const char*, char*)) {
    char name[NAMEDATALEN];
    namer(queue, name);
    return pg::RelationIn(kSchema, name);
}

bool Exists(const char* queue, void (*namer)(const char*, char*)) { return OidIsValid(OidOf(queue, namer)); }

constexpr const char* kColumns =
    "msg_id bigint NOT NULL, enqueued_at timestamptz NOT NULL, vt timestamptz NOT NULL, "
    "last_read_at timestamptz NOT NULL, receipt bigint NOT NULL, read_ct integer NOT NULL, priority integer NOT NULL, "
    "message jsonb, headers jsonb, group_key text, dedup_key text, expires_at timestamptz";

constexpr int kOwnTriggers = 3;  // of a segment

void CreateTrigger(pg::Spi* spi, const char* table, const char* name, const char* when, const char* function) {
    spi->Run(psprintf("CREATE OR REPLACE TRIGGER %s %s ON %s FOR EACH ROW EXECUTE FUNCTION %s.%s()", name, when, table,
                      kSchema, function));
    spi->Run(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s", table, name));
}

void CreateTriggers(pg::Spi* spi, const char* segment) {
    CreateTrigger(spi, segment, "pgqueue_insert", "BEFORE INSERT", "on_insert");
    CreateTrigger(spi, segment, "pgqueue_update", "BEFORE UPDATE", "on_update");
    CreateTrigger(spi, segment, "pgqueue_change", "AFTER INSERT OR UPDATE OR DELETE", "on_change");
}

// There is nothing in it for autovacuum: its dead rows go all at once. Against wraparound it comes nevertheless. The
// primary key comes by a statement of its own, since with it CREATE TABLE would make a NOT NULL constraint with a name,
// which pg_dump of PostgreSQL 18.6 doesn't quote. msg_id must be NOT NULL in the parent: else the primary key would try
// the CHECKs that its owner has put there, as the extension's owner.
void CreateSegment(pg::Spi* spi, const char* unlogged, const char* segment, const char* parent, Oid parent_oid,
                   const char* where) {
    LockRelationOid(parent_oid, ShareUpdateExclusiveLock);
    Relation rel = relation_open(parent_oid, NoLock);
    const TupleDesc desc = RelationGetDescr(rel);
    const bool good = desc->natts >= kMsgId && TupleDescAttr(desc, kMsgId - 1)->attnotnull;
    relation_close(rel, NoLock);
    if (!good)
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("column \"msg_id\" of %s is not NOT NULL", parent),
                        errhint("ALTER TABLE %s ALTER msg_id SET NOT NULL;", parent)));
    spi->Run(psprintf("CREATE %s TABLE %s () INHERITS (%s) USING heap "
                      "WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false) %s",
                      unlogged, segment, parent, where));
    spi->Run(psprintf("ALTER TABLE %s ADD PRIMARY KEY (msg_id)", segment));
}

void GiveTo(pg::Spi* spi, const char* table, Oid owner) {
    spi->Run(psprintf("ALTER TABLE %s OWNER TO %s", table, quote_identifier(GetUserNameFromId(owner, false))));
}

// The highest id in a table of ours, which is the user's and may be anything by now: so its rows are read here, and not
// by SQL under the extension owner's identity, which a view or a rule in its place would run with.
int64 HighestId(Oid relation) {
    Relation rel = table_open(relation, AccessShareLock);
    if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relam != HEAP_TABLE_AM_OID ||
        rel->rd_rules != nullptr || TupleDescAttr(RelationGetDescr(rel), 0)->atttypid != INT8OID)
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("\"%s\" is not a table of a queue", RelationGetRelationName(rel)),
                        errhint("Drop or rename it.")));
    int64 highest = 0;
    Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
    TableScanDesc scan = table_beginscan(rel, snapshot, 0, nullptr);
    TupleTableSlot* slot = table_slot_create(rel, nullptr);
    while (table_scan_getnextslot(scan, ForwardScanDirection, slot)) {
        CHECK_FOR_INTERRUPTS();
        bool null = false;
        const Datum id = slot_getattr(slot, kMsgId, &null);
        if (!null) highest = std::max(highest, DatumGetInt64(id));
    }
    ExecDropSingleTupleTableSlot(slot);
    table_endscan(scan);
    UnregisterSnapshot(snapshot);
    table_close(rel, AccessShareLock);
    return highest;
}

// What is taken over must be the queue's owner's: constraints and defaults of somebody else's table are that one's
// code.
void RequireSameOwner(Oid relation, Oid owner) {
    if (pg::OwnerOf(relation) == owner) return;
    ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                    errmsg("\"%s\" is there already and belongs to another role", get_rel_name(relation)),
                    errhint("Drop or rename it, or ALTER ... OWNER TO the queue's owner.")));
}

// Makes what is missing of the queue's relations, as the extension's owner. Returns whether anything was.
bool MakeRelations(pg::Spi* spi, const char* queue, const char* unlogged, Oid owner) {
    const Names names = NamesOf(queue);
    bool made = false;
    // Before anything is made, which belongs to the extension's owner at first.
    if (Exists(queue, ArchiveName)) RequireSameOwner(OidOf(queue, ArchiveName), owner);
    if (Exists(queue, SequenceName)) RequireSameOwner(OidOf(queue, SequenceName), owner);
    if (OidIsValid(names.parent_oid))
        for (const Oid segment : SegmentsOf(names.parent_oid, queue)) RequireSameOwner(segment, owner);
    const pg::Vector<SegmentTable> parts = ArchivePartsOf(OidOf(queue, ArchiveName), queue);
    for (const SegmentTable& part : parts) RequireSameOwner(part.table, owner);
    pg::Vector<const char*> mine;
    if (!OidIsValid(names.parent_oid)) {
        spi->Run(psprintf("CREATE %s TABLE %s (%s) USING heap", unlogged, names.parent, kColumns));
        // A reader compares keys with the page locked: they must lie in the row.
        spi->Run(psprintf("ALTER TABLE %s ALTER group_key SET STORAGE PLAIN, ALTER dedup_key SET STORAGE PLAIN",
                          names.parent));
        spi->Run(psprintf("CREATE OR REPLACE TRIGGER pgqueue_insert BEFORE INSERT ON %s FOR EACH ROW "
                          "EXECUTE FUNCTION %s.on_insert()",
                          names.parent, kSchema));
        mine.push_back(names.parent);
    }
    char parent[NAMEDATALEN];
    ParentName(queue, parent);
    const Oid parent_oid = pg::RelationIn(kSchema, parent);
    if (SegmentsOf(parent_oid, queue).empty()) {
        CreateSegment(spi, unlogged, names.segment, names.parent, parent_oid, "");
        mine.push_back(names.segment);
    }
    for (const Oid child : SegmentsOf(parent_oid, queue)) {
        if (pg::OwnTriggersOf(child) == kOwnTriggers) continue;
        CreateTriggers(spi, Qualified(get_rel_name(child)));
        made = true;
    }
    const bool had_archive = Exists(queue, ArchiveName);
    if (!had_archive) {
        spi->Run(psprintf("CREATE %s TABLE %s (%s, archived_at timestamptz NOT NULL, PRIMARY KEY (msg_id)) USING heap",
                          unlogged, names.archive, kColumns));
        mine.push_back(names.archive);
    }
    if (!Exists(queue, SequenceName)) {
        // Logged even for an unlogged queue: ids must not start again after a crash.
        spi->Run(psprintf("CREATE SEQUENCE %s AS bigint", names.sequence));
        if (OidIsValid(names.parent_oid))
            spi->Run(psprintf("ALTER SEQUENCE %s OWNER TO %s", names.sequence,
                              quote_identifier(GetUserNameFromId(owner, false))));
        spi->Run(psprintf("ALTER SEQUENCE %s OWNED BY %s.msg_id", names.sequence, names.parent));
        int64 highest = had_archive ? HighestId(OidOf(queue, ArchiveName)) : 0;
        for (const SegmentTable& part : parts) highest = std::max(highest, HighestId(part.table));
        for (const Oid segment : SegmentsOf(parent_oid, queue)) highest = std::max(highest, HighestId(segment));
        if (highest > 0)
            spi->Run(psprintf("SELECT setval(%s, " INT64_FORMAT ")", quote_literal_cstr(names.sequence), highest));
        made = true;
    }
    for (const char* table : mine) GiveTo(spi, table, owner);
    return made || !mine.empty();
}

// What others have stored under the queue's name.
void ForgetTraces(pg::Spi* spi, const char* queue) {
    Oid types[] = {TEXTOID};
    Datum values[] = {CStringGetTextDatum(queue)};
    spi->Run("DELETE FROM queue.bindings WHERE queue_name = $1", 1, types, values);
    spi->Run("DELETE FROM queue.dedup_keys WHERE queue_name = $1", 1, types, values);
    spi->Run("DELETE FROM queue.failures WHERE queue_name = $1", 1, types, values);
    spi->Run("DELETE FROM queue.attachments WHERE queue_name = $1", 1, types, values);
}

// Deletes what the extension's tables hold about the queue.
void ForgetQueue(pg::Spi* spi, const char* queue) {
    Oid types[] = {TEXTOID};
    Datum values[] = {CStringGetTextDatum(queue)};
    spi->Run("DELETE FROM queue.settings WHERE queue_name = $1", 1, types, values);
    ForgetTraces(spi, queue);
}

void InvalidateQueue(Oid parent) { CacheInvalidateRelcacheByRelid(parent); }

// The parent table's oid, or InvalidOid. Locked against DROP.
Oid LockedQueue(const char* name) {
    char parent[NAMEDATALEN];
    ParentName(name, parent);
    return pg::LockedRelationIn(kSchema, parent);
}

// The same; raises undefined_table, or insufficient_privilege where the role doesn't own it.
Oid OwnedQueue(const char* name) {
    CheckName(name);
    const Oid parent = LockedQueue(name);
    if (!OidIsValid(parent))
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("queue \"%s\" does not exist", name),
                        errhint("Create it with queue.create('%s').", name)));
    if (!compat::OwnsRelation(parent, GetUserId()))
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("must be owner of queue %s", name)));
    return parent;
}

}  // namespace

namespace {

// A clause for CREATE TABLE; empty: the default one.
const char* SpaceOf(Oid table) {
    const Oid tablespace = get_rel_tablespace(table);
    return OidIsValid(tablespace) ? psprintf("TABLESPACE %s", quote_identifier(get_tablespace_name(tablespace))) : "";
}

const char* PersistenceOf(Oid table) { return get_rel_persistence(table) == RELPERSISTENCE_UNLOGGED ? "UNLOGGED" : ""; }

}  // namespace

void MakeSegment(pg::Spi* spi, const char* queue, uint32 number, Oid like, Oid owner) {
    char name[NAMEDATALEN];
    SegmentName(queue, static_cast<int>(number), name);
    const char* segment = Qualified(name);
    const Names names = NamesOf(queue);
    CreateSegment(spi, PersistenceOf(like), segment, names.parent, names.parent_oid, SpaceOf(like));
    CreateTriggers(spi, segment);
    GiveTo(spi, segment, owner);
}

void MakeArchivePart(pg::Spi* spi, const char* queue, int number, Oid archive, Oid owner) {
    char name[NAMEDATALEN];
    ArchivePartName(queue, number, name);
    const char* part = Qualified(name);
    // Its rows go all at once: to freeze them before would be in vain.
    spi->Run(
        psprintf("CREATE %s TABLE %s () INHERITS (%s) USING heap WITH (autovacuum_vacuum_insert_threshold = -1) %s",
                 PersistenceOf(archive), part, NamesOf(queue).archive, SpaceOf(archive)));
    spi->Run(psprintf("ALTER TABLE %s ADD PRIMARY KEY (msg_id)", part));
    GiveTo(spi, part, owner);
}

bool Create(const char* name, const QueueSettings& settings, bool unlogged) {
    CheckName(name);
    const Oid role = GetUserId();
    const Oid extension_owner = pg::ExtensionOwner();
    if (OidIsValid(LockedQueue(name))) {
        if (get_rel_relkind(OwnedQueue(name)) != RELKIND_RELATION)
            ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("%s is not a table", NamesOf(name).parent)));
    } else if (!compat::MayCreateIn(MyDatabaseId, role)) {
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied to create a queue"),
                        errhint("Creating a queue needs CREATE on the database: GRANT CREATE ON DATABASE %s TO %s;",
                                quote_identifier(get_database_name(MyDatabaseId)),
                                quote_identifier(GetUserNameFromId(role, false)))));
    }

    CheckSettings(name, settings, nullptr);

    const pg::RunAs as(extension_owner);
    pg::Spi spi;
    // Two sessions that create one queue meet here: the second waits for the first to end.
    const bool inserted = InsertSettings(&spi, name, settings);
    AcceptInvalidationMessages();
    (void)LockedQueue(name);
    const Names names = NamesOf(name);
    if (OidIsValid(names.parent_oid) && !compat::OwnsRelation(names.parent_oid, role))
        ereport(ERROR, (errcode(ERRCODE_DUPLICATE_TABLE), errmsg("queue \"%s\" already exists", name)));
    const bool existed = OidIsValid(names.parent_oid);
    // Another one's of that name, which a drop has not seen.
    if (inserted) ForgetTraces(&spi, name);
    if (!inserted) {
        const auto stored = LoadSettings(&spi, name);
        if (existed) {
            const bool is_unlogged = get_rel_persistence(names.parent_oid) == RELPERSISTENCE_UNLOGGED;
            if (!stored || *stored != settings || is_unlogged != unlogged)
                ereport(ERROR, (errcode(ERRCODE_DUPLICATE_TABLE),
                                errmsg("queue \"%s\" already exists with other settings", name),
                                errhint("See queue.queues for its settings, and change them with queue.alter.")));
        } else {
            // Left over from a table that was dropped by hand.
            ForgetQueue(&spi, name);
            InsertSettings(&spi, name, settings);
        }
    }
    // Messages of a table that is taken over may expire.
    if (inserted && existed) {
        Oid types[] = {TEXTOID};
        Datum values[] = {CStringGetTextDatum(name)};
        spi.Run("UPDATE queue.settings SET expiring = true WHERE queue_name = $1", 1, types, values);
    }
    // A table that is taken over keeps its persistence.
    if (existed) unlogged = get_rel_persistence(names.parent_oid) == RELPERSISTENCE_UNLOGGED;
    const Oid owner = existed ? pg::OwnerOf(names.parent_oid) : role;
    const bool made = MakeRelations(&spi, name, unlogged ? "UNLOGGED" : "", owner);
    char parent[NAMEDATALEN];
    ParentName(name, parent);
    CommandCounterIncrement();
    InvalidateQueue(pg::RelationIn(kSchema, parent));
    return inserted || made;
}

bool Alter(const char* name, const SettingsChange& change) {
    const Oid parent = OwnedQueue(name);
    const Oid extension_owner = pg::ExtensionOwner();
    std::optional<QueueSettings> stored;
    {
        const pg::RunAs as(extension_owner);
        pg::Spi spi;
        stored = LoadSettings(&spi, name);
        if (stored && stored->dead_letter != nullptr) {
            auto* copy = static_cast<char*>(SPI_palloc(strlen(stored->dead_letter) + 1));
            strcpy(copy, stored->dead_letter);
            stored->dead_letter = copy;
        }
    }
    if (!stored) return false;
    const QueueSettings changed = Changed(*stored, change);
    if (changed == *stored) return false;
    CheckSettings(name, changed, &*stored);
    const pg::RunAs as(extension_owner);
    pg::Spi spi;
    UpdateSettings(&spi, name, changed);
    InvalidateQueue(parent);
    return true;
}

bool Drop(const char* name) {
    CheckName(name);
    if (!OidIsValid(LockedQueue(name))) return false;
    const Oid parent = OwnedQueue(name);
    const pg::Progress progress(pg::Work::kDropQueue);
    pg::ProgressPhase("waiting for locks");
    LockRelationOid(parent, AccessExclusiveLock);  // the worker makes no further segment
    StringInfoData sql;
    initStringInfo(&sql);
    appendStringInfo(&sql, "DROP TABLE %s", NamesOf(name).parent);
    // As those do that look through the queue, who have the newest first.
    const pg::Vector<Oid> segments = SegmentsOf(parent, name);
    pg::ProgressTables(static_cast<int>(segments.size()));
    for (auto segment = segments.rbegin(); segment != segments.rend(); ++segment) {
        pg::ProgressOnTable(*segment, 0);
        LockRelationOid(*segment, AccessExclusiveLock);
    }
    pg::ProgressPhase("dropping tables");
    for (const Oid segment : segments) appendStringInfo(&sql, ", %s", Qualified(get_rel_name(segment)));
    if (const Oid archive = OidOf(name, ArchiveName); OidIsValid(archive)) {
        // Nor a part of it. Another one's table isn't locked: DROP refuses it.
        if (compat::OwnsRelation(archive, GetUserId())) LockRelationOid(archive, AccessExclusiveLock);
        appendStringInfo(&sql, ", %s", NamesOf(name).archive);
        for (const SegmentTable& part : ArchivePartsOf(archive, name))
            appendStringInfo(&sql, ", %s", Qualified(get_rel_name(part.table)));
    }
    {
        pg::Spi spi;  // as the caller: the server checks each table
        spi.Run(sql.data);
    }
    const pg::RunAs as(pg::ExtensionOwner());
    pg::Spi spi;
    ForgetQueue(&spi, name);
    return true;
}

namespace {

int64 PurgeSegment(const OpenedQueue& opened) {
    Relation rel = opened.segment;
    Acker acker(opened, nullptr);
    int64 purged = 0;
    pg::ProgressOnTable(RelationGetRelid(rel), RelationGetNumberOfBlocks(rel));
    for (BlockNumber block = 0; page::BlockExists(rel, block); block++) {
        CHECK_FOR_INTERRUPTS();
        pg::ProgressOnPage(block);
        boost::container::static_vector<MessageId, MaxHeapTuplesPerPage> ids;
        Buffer buffer = ReadBuffer(rel, block);
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
        HeapTupleData tuple;
        for (OffsetNumber off = FirstOffsetNumber; off <= last; off = OffsetNumberNext(off)) {
            const RowState state = StateOf(rel, buffer, off, &tuple);
            if (state != RowState::kLive && state != RowState::kChanging) continue;
            const int64 msg_id = HeadOf(tuple.t_data)->msg_id;
            RememberPlace(RelationGetRelid(rel), msg_id, tuple.t_self);
            ids.push_back({msg_id, std::nullopt});
        }
        UnlockReleaseBuffer(buffer);
        if (ids.empty()) continue;
        std::array<bool, MaxHeapTuplesPerPage> done{};
        acker.Run(ids.data(), static_cast<int>(ids.size()), done.data());
        const auto deleted = std::count(done.begin(), done.begin() + ids.size(), true);
        pg::ProgressAddRows(deleted);
        purged += deleted;
    }
    return purged;
}

}  // namespace

int64 Purge(const char* name) {
    const pg::Progress progress(pg::Work::kPurgeQueue);
    const OpenedQueue opened = Open(name, ACL_DELETE, RowExclusiveLock);
    pg::ProgressPhase("deleting messages");
    pg::ProgressTables(opened.queue->segment_count);
    int64 purged = 0;
    ForSegments(opened, RowExclusiveLock, [&](const OpenedQueue& segment) {
        purged += PurgeSegment(segment);
        return false;
    });
    Close(opened);
    return purged;
}

bool SetPaused(const char* name, bool paused) {
    const Oid parent = OwnedQueue(name);
    bool changed = false;
    {
        const pg::RunAs as(pg::ExtensionOwner());
        pg::Spi spi;
        Oid types[] = {TEXTOID, BOOLOID};
        Datum values[] = {CStringGetTextDatum(name), BoolGetDatum(paused)};
        changed = spi.Run("UPDATE queue.settings SET paused = $2 WHERE queue_name = $1 AND paused <> $2", 2, types,
                          values) > 0;
    }
    InvalidateQueue(parent);
    if (!paused && changed) {
        const OpenedQueue opened = Open(name, 0, AccessShareLock);
        page::WakeAllOnCommit(MapOf(opened));
        Close(opened);
    }
    return changed;
}

void SetNotify(const char* name, double throttle, const char* channel) {
    const Oid parent = OwnedQueue(name);
    const pg::RunAs as(pg::ExtensionOwner());
    pg::Spi spi;
    Oid types[] = {TEXTOID, FLOAT8OID, TEXTOID};
    Datum values[] = {CStringGetTextDatum(name), Float8GetDatum(throttle),
                      CStringGetTextDatum(channel != nullptr ? channel : "")};
    spi.Run("UPDATE queue.settings SET notify_throttle = $2, notify_channel = nullif($3, '') WHERE queue_name = $1", 3,
            types, values);
    InvalidateQueue(parent);
}

void GrantOrRevoke(Grant what, const char* name, const char* role, const char* privilege) {
    CheckName(name);
    const Names names = NamesOf(name);
    pg::LockAgainstGrants(OwnedQueue(name));
    const char* on_queue = nullptr;
    const char* on_archive = nullptr;
    if (strcmp(privilege, "send") == 0) {
        on_queue = "INSERT";
    } else if (strcmp(privilege, "consume") == 0) {
        on_queue = "SELECT, UPDATE, DELETE";
        on_archive = "SELECT";
    } else if (strcmp(privilege, "monitor") == 0) {
        on_queue = "SELECT";
        on_archive = "SELECT";
    } else {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unrecognized privilege: \"%s\"", privilege),
                        errhint("It is one of \"send\", \"consume\" and \"monitor\".")));
    }
    const char* verb = what == Grant::kGrant ? "GRANT" : "REVOKE";
    const char* to = what == Grant::kGrant ? "TO" : "FROM";
    const char* grantee = pg::Grantee(role);
    pg::Spi spi;  // as the caller
    spi.Run(psprintf("%s %s ON %s %s %s", verb, on_queue, names.parent, to, grantee));
    if (on_archive != nullptr) spi.Run(psprintf("%s %s ON %s %s %s", verb, on_archive, names.archive, to, grantee));
}

}  // namespace pgqueue::queue
