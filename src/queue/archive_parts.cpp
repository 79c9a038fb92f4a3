#include "pgqueue/queue/archive_parts.hpp"

#include "pgqueue/page/visibility.hpp"
#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/run_as.hpp"
#include "pgqueue/queue/admin.hpp"
#include "pgqueue/queue/row.hpp"
#include "pgqueue/queue/whole_tables.hpp"
#include "pgqueue/settings.hpp"

namespace pgqueue::queue {
namespace {

constexpr const char* kClosed = "pgqueue_closed";
constexpr int kMostParts = 12;
constexpr int kPartsOfRetention = 4;
constexpr int64 kOverdue = 60 * USECS_PER_SEC;

// The pages from which on an archive is worth a part of its own.
BlockNumber LeastPages() { return static_cast<BlockNumber>(std::max(settings::segment_size / 8, 1)); }

// What this process has found to be too old as a whole, and the transaction in which it did: whoever might still want
// to see it has an older snapshot.
struct Expired {
    Oid table;
    compat::FileNumber file;
    TransactionId found_by;
};

pg::TopVector<Expired>* Known() {
    static pg::TopVector<Expired>* known = nullptr;
    if (known == nullptr) known = new (MemoryContextAlloc(TopMemoryContext, sizeof(*known))) pg::TopVector<Expired>();
    return known;
}

void ForgetKnown(Oid table) {
    auto* known = Known();
    known->erase(std::remove_if(known->begin(), known->end(), [=](const Expired& e) { return e.table == table; }),
                 known->end());
}

TransactionId FoundBy(Relation part) {
    for (const Expired& expired : *Known())
        if (expired.table == RelationGetRelid(part) && expired.file == compat::FileNumberOf(part))
            return expired.found_by;
    ForgetKnown(RelationGetRelid(part));
    Known()->push_back({RelationGetRelid(part), compat::FileNumberOf(part), GetCurrentTransactionId()});
    return Known()->back().found_by;
}

// Something else may have the name of an archive, or of a part.
bool HasArchivedAt(Relation rel) {
    const TupleDesc desc = RelationGetDescr(rel);
    return rel->rd_rel->relkind == RELKIND_RELATION && rel->rd_rel->relam == HEAP_TABLE_AM_OID &&
           desc->natts >= kArchivedAt && !TupleDescAttr(desc, kArchivedAt - 1)->attisdropped &&
           TupleDescAttr(desc, kArchivedAt - 1)->atttypid == TIMESTAMPTZOID;
}

// Whether a part may take its place: its user has made nothing that holds for this table alone. Nor may msg_id be
// nullable: the primary key of a part would try its CHECKs, an owner's code, as the extension's owner.
bool MayHaveParts(Relation archive) {
    if (!HasArchivedAt(archive) || archive->rd_rel->relrowsecurity || archive->rd_rules != nullptr ||
        archive->trigdesc != nullptr || !TupleDescAttr(RelationGetDescr(archive), kMsgId - 1)->attnotnull)
        return false;
    List* indexes = RelationGetIndexList(archive);
    const bool plain = list_length(indexes) == 1 && OidIsValid(compat::PrimaryKeyOf(archive));
    list_free(indexes);
    return plain;
}

// The same by its oid; false where somebody has it for himself.
bool MayHaveParts(Oid table) {
    if (!ConditionalLockRelationOid(table, AccessShareLock)) return false;
    Relation archive = try_relation_open(table, NoLock);
    const bool may = archive != nullptr && MayHaveParts(archive);
    if (archive != nullptr) relation_close(archive, NoLock);
    UnlockRelationOid(table, AccessShareLock);
    return may;
}

// What its owner has made of it, and the worker would have to wait for, or run.
bool IsPlainPart(Relation part) {
    List* children = find_inheritance_children(RelationGetRelid(part), NoLock);
    const bool plain = children == NIL && !HasTruncateTrigger(part);
    list_free(children);
    return plain;
}

// When the first of the rows that are there was archived: a part is filled in order. Nothing: no row on its first page.
std::optional<TimestampTz> FirstArchived(Relation part) {
    if (!HasArchivedAt(part) || !page::BlockExists(part, 0)) return std::nullopt;
    std::optional<TimestampTz> first;
    Buffer buffer = ReadBuffer(part, 0);
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
    HeapTupleData tuple;
    for (OffsetNumber off = FirstOffsetNumber; off <= last; off = OffsetNumberNext(off)) {
        if (IsOver(page::Judge(part, buffer, off, &tuple))) continue;
        bool null = false;
        const Datum value = heap_getattr(&tuple, kArchivedAt, RelationGetDescr(part), &null);
        if (null) continue;
        const TimestampTz at = DatumGetTimestampTz(value);
        first = first ? std::min(*first, at) : at;
    }
    UnlockReleaseBuffer(buffer);
    return first;
}

// Of a closed part: until when rows have come. Nothing: it isn't closed.
std::optional<TimestampTz> ClosedAt(Relation part) {
    const TupleConstr* constraints = RelationGetDescr(part)->constr;
    for (int i = 0; constraints != nullptr && i < constraints->num_check; i++) {
        if (strcmp(constraints->check[i].ccname, kClosed) != 0) continue;
        const auto* test = static_cast<const OpExpr*>(stringToNode(constraints->check[i].ccbin));
        if (!IsA(test, OpExpr) || list_length(test->args) != 2) return DT_NOEND;  // another one's
        const auto* until = static_cast<const Const*>(lsecond(test->args));
        if (!IsA(until, Const) || until->consttype != TIMESTAMPTZOID || until->constisnull) return DT_NOEND;
        return DatumGetTimestampTz(until->constvalue);
    }
    return std::nullopt;
}

class Tender {
public:
    Tender(const char* queue, Oid archive, double retention)
        : queue_(queue), archive_(archive), kept_for_(static_cast<int64>(retention * USECS_PER_SEC)),
          owner_(pg::OwnerOf(archive)), now_(GetCurrentTimestamp()), parts_(ArchivePartsOf(archive, queue)) {}

    bool Run() {
        for (std::size_t i = 0; i < parts_.size(); i++) Look(parts_[i].table, i + 1 == parts_.size());
        Empty();
        if (WantsNew()) AddPart();
        return changed_;
    }

private:
    struct Dead {
        Oid table;
        int64 size;
        bool removable;
    };

    void Look(Oid table, bool newest) {
        pg::Vector<Oid> locked;
        if (!LockAtOnce({table}, &locked)) return;
        Relation rel = try_relation_open(table, NoLock);
        const bool filled = rel != nullptr && RelationGetNumberOfBlocks(rel) > 0;
        const auto closed = rel != nullptr ? ClosedAt(rel) : std::nullopt;
        const bool old = filled && closed && *closed <= now_ - kept_for_ && IsPlainPart(rel);
        if (old)
            dead_.push_back({table, SizeOf(table), IsPast(rel, FoundBy(rel))});
        else
            ForgetKnown(table);
        if (rel != nullptr) relation_close(rel, NoLock);
        UnlockAll(locked);
        newest_closed_ |= newest && closed;
        if (filled && !closed && !newest) CloseOne(table);
    }

    void Empty() {
        int64 bytes = 0;
        for (const Dead& part : dead_) bytes += part.size;
        for (const Dead& part : dead_) {
            const bool too_much =
                settings::max_dead_bytes >= 0 && bytes > settings::max_dead_bytes * int64{1024} * 1024;
            if (!(part.removable || too_much) || !TakeAlone(part.table)) continue;
            Relation rel = relation_open(part.table, NoLock);
            const auto closed = ClosedAt(rel);
            relation_close(rel, NoLock);
            if (!closed || *closed > now_ - kept_for_) continue;
            RunAsOwner(psprintf("TRUNCATE ONLY %s", NameOf(part.table)));
            ForgetKnown(part.table);
            bytes -= part.size;
        }
    }

    // With the table to ourselves, nobody who has it as the newest will store anything there. Rows that were put into
    // it by others, with another time, go with the rest; further ones are refused.
    void CloseOne(Oid table) {
        if (!TakeAlone(table)) return;
        const char* until =
            JsonEncodeDateTime(nullptr, TimestampTzGetDatum(GetCurrentTimestamp()), TIMESTAMPTZOID, nullptr);
        RunAsOwner(psprintf("ALTER TABLE %s ADD CONSTRAINT %s CHECK (archived_at <= %s) NOT VALID", NameOf(table),
                            kClosed, quote_literal_cstr(until)));
    }

    bool WantsNew() {
        int used = 0;
        for (const SegmentTable& part : parts_) used += BlocksAtOnce(part.table) > 0;
        if (used >= kMostParts || (!parts_.empty() && parts_.back().number >= PG_INT32_MAX - 1) ||
            !MayHaveParts(archive_))
            return false;
        if (newest_closed_) return true;
        const Oid newest = parts_.empty() ? archive_ : parts_.back().table;
        if (BlocksAtOnce(newest) < LeastPages() || !ConditionalLockRelationOid(newest, AccessShareLock)) return false;
        Relation rel = try_relation_open(newest, NoLock);
        const auto first = rel != nullptr ? FirstArchived(rel) : std::nullopt;
        const bool wants = rel != nullptr && (!first || *first <= now_ - kept_for_ / kPartsOfRetention);
        if (rel != nullptr) relation_close(rel, NoLock);
        UnlockRelationOid(newest, AccessShareLock);
        return wants;
    }

    void AddPart() {
        // Two who would do the same; and who drops the queue, or changes the archive.
        if (!ConditionalLockRelationOid(archive_, ShareUpdateExclusiveLock)) return;
        AcceptInvalidationMessages();
        if (!MayHaveParts(archive_) || pg::OwnerOf(archive_) != owner_) return;
        const int number = parts_.empty() ? 1 : static_cast<int>(parts_.back().number) + 1;
        char name[NAMEDATALEN];
        ArchivePartName(queue_, number, name);
        if (OidIsValid(pg::RelationIn(kSchema, name))) return;  // somebody's table
        if (!UseEmptyOne(name)) {
            const pg::RunAs as(pg::ExtensionOwner());
            pg::Spi spi;
            MakeArchivePart(&spi, queue_, number, archive_, owner_);
        }
        CacheInvalidateRelcacheByRelid(archive_);
        changed_ = true;
    }

    // An emptied part gets the new one's name.
    bool UseEmptyOne(const char* name) {
        for (std::size_t i = 0; i + 1 < parts_.size(); i++) {
            const Oid table = parts_[i].table;
            if (BlocksAtOnce(table) > 0 || get_rel_persistence(table) != get_rel_persistence(archive_) ||
                get_rel_tablespace(table) != get_rel_tablespace(archive_))
                continue;
            if (!TakeAlone(table) || BlocksOf(table) > 0) continue;
            RunAsOwner(psprintf("ALTER TABLE %s DROP CONSTRAINT IF EXISTS %s", NameOf(table), kClosed));
            RenameRelationInternal(table, name, true, false);
            return true;
        }
        return false;
    }

    // Locks a part for ourselves, if it still is what it was when we looked: by then its owner may have done anything.
    bool TakeAlone(Oid table) const {
        if (!LockAlone(table)) return false;
        bool good = pg::OwnerOf(table) == owner_;
        const auto parts = ArchivePartsOf(archive_, queue_);
        good = good &&
               std::any_of(parts.begin(), parts.end(), [=](const SegmentTable& part) { return part.table == table; });
        if (good) {
            Relation rel = relation_open(table, NoLock);
            good = IsPlainPart(rel);
            relation_close(rel, NoLock);
        }
        if (!good) UnlockRelationOid(table, AccessExclusiveLock);
        return good;
    }

    // As the owner, whose constraints it may have.
    void RunAsOwner(const char* sql) {
        const pg::RunAs as(owner_, SECURITY_RESTRICTED_OPERATION);
        pg::Spi spi;
        spi.Run(sql);
        changed_ = true;
    }

    static const char* NameOf(Oid table) { return psprintf("%s.%s", kSchema, quote_identifier(get_rel_name(table))); }

    const char* queue_;
    Oid archive_;
    int64 kept_for_;  // microseconds
    Oid owner_;
    TimestampTz now_;
    pg::Vector<SegmentTable> parts_;
    pg::Vector<Dead> dead_;
    bool newest_closed_ = false;
    bool changed_ = false;
};

// Of a part: whether it is that much older than it should ever get. Then there is always somebody who has it locked, or
// its owner has made something of it.
bool IsOverdue(Oid table, int64 kept_for) {
    if (!ConditionalLockRelationOid(table, AccessShareLock)) return false;
    bool overdue = false;
    if (Relation part = try_relation_open(table, NoLock)) {
        auto since = ClosedAt(part);
        if (!since) since = FirstArchived(part);
        overdue = since && RelationGetNumberOfBlocks(part) > 0 &&
                  *since <= GetCurrentTimestamp() - kept_for - kept_for / kPartsOfRetention - kOverdue;
        relation_close(part, NoLock);
    }
    UnlockRelationOid(table, AccessShareLock);
    return overdue;
}

bool IsNewest(Oid archive, const char* queue, Oid table) {
    const auto parts = ArchivePartsOf(archive, queue);
    return !parts.empty() && parts.back().table == table;
}

}  // namespace

Relation OpenArchivePart(const OpenedQueue& opened, Relation archive) {
    if (!archive->rd_rel->relhassubclass) return archive;
    Queue* queue = opened.queue;
    const Oid own = RelationGetRelid(archive);
    for (bool sure = false;;) {
        if (!OidIsValid(queue->archive_part)) {
            const auto parts = ArchivePartsOf(own, queue->name);
            NoteArchivePart(queue, parts.empty() ? own : parts.back().table);
            sure = true;
        }
        const Oid table = queue->archive_part;
        if (table == own) return archive;
        // It may have got another name, and others' rows, while we waited for its lock.
        Relation part = try_relation_open(table, RowExclusiveLock);
        if (part != nullptr && (IsValid(queue) || IsNewest(own, queue->name, table)) && (!sure || !ClosedAt(part)))
            return part;
        const bool closed = part != nullptr && ClosedAt(part);
        if (part != nullptr) table_close(part, RowExclusiveLock);
        // The one behind it is gone: until the worker has made another, the archive's own table takes all.
        if (closed && IsNewest(own, queue->name, table)) {
            queue->archive_part = own;
            return archive;
        }
        queue->archive_part = InvalidOid;
    }
}

pg::Vector<Oid> TrimmedParts(const OpenedQueue& opened) {
    pg::Vector<Oid> trimmed;
    const auto kept_for = static_cast<int64>(opened.queue->archive_retention * USECS_PER_SEC);
    const auto parts = ArchivePartsOf(opened.queue->archive, opened.queue->name);
    for (std::size_t i = 0; i < parts.size(); i++) {
        const bool newest = i + 1 == parts.size();
        const bool wanted =
            IsOverdue(parts[i].table, kept_for) ||
            (newest && (BlocksAtOnce(parts[i].table) < LeastPages() || !MayHaveParts(opened.queue->archive)));
        if (wanted && ConditionalLockRelationOid(parts[i].table, RowExclusiveLock)) trimmed.push_back(parts[i].table);
    }
    return trimmed;
}

bool TendArchive(const char* queue, Oid archive, double retention) {
    // It may be gone by now.
    return ConditionalLockRelationOid(archive, AccessShareLock) &&
           SearchSysCacheExists1(RELOID, ObjectIdGetDatum(archive)) && Tender(queue, archive, retention).Run();
}

}  // namespace pgqueue::queue
