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

// Whether a part may take its place: its user has made nothing that holds for this table alone.
bool MayHaveParts(Relation archive) {
    if (archive->rd_rel->relkind != RELKIND_RELATION || archive->rd_rel->relam != HEAP_TABLE_AM_OID ||
        archive->rd_rel->relrowsecurity || archive->rd_rules != nullptr || archive->trigdesc != nullptr)
        return false;
    List* indexes = RelationGetIndexList(archive);
    const bool plain = list_length(indexes) == 1;
    list_free(indexes);
    return plain;
}

// When the first of the rows that are there was archived: a part is filled in order. Nothing: no row on its first page.
std::optional<TimestampTz> FirstArchived(Relation part) {
    if (!page::BlockExists(part, 0)) return std::nullopt;
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

class Tender {
public:
    Tender(const char* queue, Oid archive, double retention)
        : queue_(queue), archive_(archive), kept_for_(static_cast<int64>(retention * USECS_PER_SEC)),
          owner_(pg::OwnerOf(archive)), now_(GetCurrentTimestamp()), parts_(ArchivePartsOf(archive, queue)) {}

    bool Run() {
        for (std::size_t i = 0; i + 1 < parts_.size(); i++)
            if (pg::OwnerOf(parts_[i].table) == owner_) Look(parts_[i]);
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

    // One that nothing goes into any more.
    void Look(const SegmentTable& part) {
        if (!ConditionalLockRelationOid(part.table, AccessShareLock)) return;
        Relation rel = try_relation_open(part.table, NoLock);
        std::optional<TimestampTz> closed;
        bool removable = false;
        const bool filled = rel != nullptr && RelationGetNumberOfBlocks(rel) > 0;
        if (filled) closed = ClosedAt(rel);
        const bool old = closed && *closed <= now_ - kept_for_;
        if (old) removable = IsPast(rel, FoundBy(rel));
        if (rel != nullptr) relation_close(rel, NoLock);
        if (old) dead_.push_back({part.table, SizeOf(part.table), removable});
        UnlockRelationOid(part.table, AccessShareLock);
        if (filled && !closed) CloseOne(part.table);
    }

    void Empty() {
        int64 bytes = 0;
        for (const Dead& part : dead_) bytes += part.size;
        for (const Dead& part : dead_) {
            const bool too_much =
                settings::max_dead_bytes >= 0 && bytes > settings::max_dead_bytes * int64{1024} * 1024;
            if (!(part.removable || too_much) || !LockAlone(part.table)) continue;
            const char* name = NameOf(part.table);
            const pg::RunAs as(owner_, SECURITY_RESTRICTED_OPERATION);
            pg::Spi spi;
            spi.Run(psprintf("TRUNCATE ONLY %s", name));
            ForgetKnown(part.table);
            bytes -= part.size;
            changed_ = true;
        }
    }

    // With the table to ourselves, nobody who has it as the newest will store anything there. Rows that were put into
    // it by others, with another time, go with the rest; further ones are refused.
    void CloseOne(Oid table) {
        if (!LockAlone(table)) return;
        const char* until =
            JsonEncodeDateTime(nullptr, TimestampTzGetDatum(GetCurrentTimestamp()), TIMESTAMPTZOID, nullptr);
        const pg::RunAs as(owner_, SECURITY_RESTRICTED_OPERATION);
        pg::Spi spi;
        spi.Run(psprintf("ALTER TABLE %s ADD CONSTRAINT %s CHECK (archived_at <= %s) NOT VALID", NameOf(table), kClosed,
                         quote_literal_cstr(until)));
        changed_ = true;
    }

    bool WantsNew() {
        const Oid newest = parts_.empty() ? archive_ : parts_.back().table;
        int used = 0;
        for (const SegmentTable& part : parts_) used += BlocksOfUnlocked(part.table) > 0;
        if (used >= kMostParts || (!parts_.empty() && parts_.back().number >= PG_INT32_MAX - 1)) return false;
        if (BlocksOfUnlocked(newest) < LeastPages()) return false;
        if (!ConditionalLockRelationOid(archive_, AccessShareLock)) return false;
        bool wants = false;
        if (Relation archive = try_relation_open(archive_, NoLock)) {
            wants = MayHaveParts(archive);
            relation_close(archive, NoLock);
        }
        if (wants && ConditionalLockRelationOid(newest, AccessShareLock)) {
            Relation rel = try_relation_open(newest, NoLock);
            const auto first = rel != nullptr ? FirstArchived(rel) : std::nullopt;
            wants = !first || *first <= now_ - kept_for_ / kPartsOfRetention;
            if (rel != nullptr) relation_close(rel, NoLock);
            UnlockRelationOid(newest, AccessShareLock);
        } else {
            wants = false;
        }
        UnlockRelationOid(archive_, AccessShareLock);
        return wants;
    }

    // Of one that somebody has for himself: not none.
    static BlockNumber BlocksOfUnlocked(Oid table) {
        if (!ConditionalLockRelationOid(table, AccessShareLock)) return 1;
        const BlockNumber blocks = BlocksOf(table);
        UnlockRelationOid(table, AccessShareLock);
        return blocks;
    }

    void AddPart() {
        // Two who would do the same; and who drops the queue.
        if (!ConditionalLockRelationOid(archive_, ShareUpdateExclusiveLock)) return;
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
            if (pg::OwnerOf(table) != owner_ || BlocksOfUnlocked(table) > 0 || !LockAlone(table)) continue;
            if (BlocksOf(table) > 0) continue;
            {
                const pg::RunAs as(owner_, SECURITY_RESTRICTED_OPERATION);
                pg::Spi spi;
                spi.Run(psprintf("ALTER TABLE %s DROP CONSTRAINT IF EXISTS %s", NameOf(table), kClosed));
            }
            RenameRelationInternal(table, name, true, false);
            return true;
        }
        return false;
    }

    static const char* NameOf(Oid table) { return psprintf("%s.%s", kSchema, quote_identifier(get_rel_name(table))); }

    const char* queue_;
    Oid archive_;
    int64 kept_for_;  // microseconds
    Oid owner_;
    TimestampTz now_;
    pg::Vector<SegmentTable> parts_;
    pg::Vector<Dead> dead_;
    bool changed_ = false;
};

}  // namespace

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

Relation OpenArchivePart(const OpenedQueue& opened, Relation archive) {
    if (!archive->rd_rel->relhassubclass) return archive;
    Queue* queue = opened.queue;
    for (;;) {
        if (!OidIsValid(queue->archive_part)) {
            const auto parts = ArchivePartsOf(RelationGetRelid(archive), queue->name);
            queue->archive_part = parts.empty() ? RelationGetRelid(archive) : parts.back().table;
        }
        const Oid table = queue->archive_part;
        if (table == RelationGetRelid(archive)) return archive;
        // It may have got another name, and others' rows, while we waited for its lock.
        Relation part = try_relation_open(table, RowExclusiveLock);
        const auto parts = part != nullptr && IsValid(queue) ? pg::Vector<SegmentTable>()
                                                             : ArchivePartsOf(RelationGetRelid(archive), queue->name);
        if (part != nullptr && (parts.empty() || parts.back().table == table)) return part;
        if (part != nullptr) table_close(part, RowExclusiveLock);
        queue->archive_part = InvalidOid;
    }
}

Oid TrimmedPart(const OpenedQueue& opened) {
    const auto parts = ArchivePartsOf(opened.queue->archive, opened.queue->name);
    if (parts.empty()) return InvalidOid;
    const Oid newest = parts.back().table;
    if (!ConditionalLockRelationOid(newest, RowExclusiveLock)) return InvalidOid;
    bool trimmed = BlocksOf(newest) < LeastPages();
    if (!trimmed) {
        Relation archive = table_open(opened.queue->archive, NoLock);  // the caller has it locked
        trimmed = !MayHaveParts(archive);
        table_close(archive, NoLock);
    }
    return trimmed ? newest : InvalidOid;
}

bool TendArchive(const char* queue, Oid archive, double retention) { return Tender(queue, archive, retention).Run(); }

}  // namespace pgqueue::queue
