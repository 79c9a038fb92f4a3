#include "pgqueue/queue/segments.hpp"

#include "pgqueue/page/due_pages.hpp"
#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/run_as.hpp"
#include "pgqueue/queue/ack.hpp"
#include "pgqueue/queue/admin.hpp"
#include "pgqueue/queue/row_state.hpp"
#include "pgqueue/queue/send.hpp"
#include "pgqueue/queue/whole_tables.hpp"
#include "pgqueue/settings.hpp"

namespace pgqueue::queue {
namespace {

constexpr int64 kMoveAhead = 60 * USECS_PER_SEC;
constexpr int kMostMoved = 1000;  // messages in one transaction

// What this process has found out about a segment without messages: mostly it gets none again.
struct Drained {
    Oid table;
    compat::FileNumber file;
    TransactionId newest;  // that has deleted a row in it
};

pg::TopVector<Drained>* Known() {
    static pg::TopVector<Drained>* known = nullptr;
    if (known == nullptr) known = new (MemoryContextAlloc(TopMemoryContext, sizeof(*known))) pg::TopVector<Drained>();
    return known;
}

Drained* FindKnown(Relation rel) {
    for (Drained& drained : *Known())
        if (drained.table == RelationGetRelid(rel) && drained.file == compat::FileNumberOf(rel)) return &drained;
    return nullptr;
}

void ForgetKnown(Oid table) {
    auto* known = Known();
    known->erase(std::remove_if(known->begin(), known->end(), [=](const Drained& d) { return d.table == table; }),
                 known->end());
}

// Segments that were empty when this process made or emptied them, and from which it has moved no message since.
pg::TopVector<std::pair<Oid, compat::FileNumber>>* Fresh() {
    using Files = pg::TopVector<std::pair<Oid, compat::FileNumber>>;
    static Files* fresh = nullptr;
    if (fresh == nullptr) fresh = new (MemoryContextAlloc(TopMemoryContext, sizeof(*fresh))) Files();
    return fresh;
}

void NoteFresh(Relation rel, bool is_fresh) {
    auto* fresh = Fresh();
    const std::pair<Oid, compat::FileNumber> file(RelationGetRelid(rel), compat::FileNumberOf(rel));
    fresh->erase(std::remove_if(fresh->begin(), fresh->end(), [&](const auto& f) { return f.first == file.first; }),
                 fresh->end());
    if (is_fresh) fresh->push_back(file);
}

void NoteFresh(Oid table) {
    Relation rel = table_open(table, NoLock);
    NoteFresh(rel, true);
    table_close(rel, NoLock);
}

bool IsFresh(Relation rel) {
    const std::pair<Oid, compat::FileNumber> file(RelationGetRelid(rel), compat::FileNumberOf(rel));
    return std::find(Fresh()->begin(), Fresh()->end(), file) != Fresh()->end();
}

// Looks at the pages that may hold messages, by the map, as a reader would, up to the first one that does.
class Looker {
public:
    explicit Looker(const OpenedQueue& segment) : segment_(segment), rel_(segment.segment) {}

    // Whether there was a page that might have had one.
    bool HasLooked() const { return looked_; }

    bool HasMessages() {
        page::TablePages pages(rel_);
        for (;;) {
            const page::SegmentRef map = MapOf(segment_);
            bool current = true;
            for (int band = 0; current && !found_ && band < page::BandCount(map); band++)
                current = page::ForDuePages(
                    &pages, map, band, page::kNever - 1,
                    [&](BlockNumber block, bool publish, const page::Range&) {
                        return Look(map, band, block, publish);
                    },
                    [this] { return found_; });
            if (found_ || current) return found_;
        }
    }

private:
    page::Bound Look(const page::SegmentRef& map, int band, BlockNumber block, bool publish) {
        Buffer buffer = ReadBuffer(rel_, block);
        LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
        const auto look =
            publish ? page::BeginLook(map, band, block, page::BoundOf(GetCurrentTimestamp())) : std::nullopt;
        const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
        HeapTupleData tuple;
        for (OffsetNumber off = FirstOffsetNumber; !found_ && off <= last; off = OffsetNumberNext(off))
            found_ = !IsOver(page::Judge(rel_, buffer, off, &tuple));
        if (!found_ && look) page::Publish(map, band, block, look->word, page::kNever);
        UnlockReleaseBuffer(buffer);
        looked_ = true;
        return found_ ? page::kUnknown : page::kNever;
    }

    const OpenedQueue& segment_;
    Relation rel_;
    bool found_ = false;
    bool looked_ = false;
};

// By the pages themselves. Nothing: there is a row that isn't over. The newest transaction that has written a row, if
// any snapshot may care.
std::optional<TransactionId> NewestWriter(Relation rel) {
    TransactionId newest = InvalidTransactionId;
    const auto note = [&](TransactionId xid) {
        if (TransactionIdIsNormal(xid) && (newest == InvalidTransactionId || TransactionIdFollows(xid, newest)))
            newest = xid;
    };
    const BlockNumber blocks = RelationGetNumberOfBlocks(rel);
    BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
    for (BlockNumber block = 0; block < blocks; block++) {
        CHECK_FOR_INTERRUPTS();
        Buffer buffer = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
        bool over = true;
        HeapTupleData tuple;
        for (OffsetNumber off = FirstOffsetNumber; over && off <= last; off = OffsetNumberNext(off)) {
            over = IsOver(page::Judge(rel, buffer, off, &tuple));
            if (!over || !ItemIdIsNormal(PageGetItemId(BufferGetPage(buffer), off))) continue;
            const HeapTupleHeader row = tuple.t_data;
            if (HeapTupleHeaderXminInvalid(row)) continue;  // never seen by anybody
            note(HeapTupleHeaderGetUpdateXid(row));
        }
        UnlockReleaseBuffer(buffer);
        if (!over) {
            FreeAccessStrategy(strategy);
            return std::nullopt;
        }
    }
    FreeAccessStrategy(strategy);
    return newest;
}

// The messages of a segment that will be there for long, if nothing else is.
class Stragglers {
public:
    explicit Stragglers(const OpenedQueue& segment) : segment_(segment), rel_(segment.segment) {}

    // False: there are too many, or others.
    bool Find() {
        const std::size_t most = std::size_t{kMostPerPage} * RelationGetNumberOfBlocks(rel_);
        page::TablePages pages(rel_);
        const page::SegmentRef map = MapOf(segment_);
        for (int band = 0; !failed_ && band < page::BandCount(map); band++) {
            const bool current = page::ForDuePages(
                &pages, map, band, page::kNever - 1,
                [&](BlockNumber block, bool, const page::Range&) { return Look(block); },
                [&] { return failed_ || found_.size() > most; });
            failed_ |= !current || found_.size() > most;
        }
        return !failed_ && !found_.empty();
    }

    int Move(const OpenedQueue& target) {
        MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "pgqueue move", ALLOCSET_DEFAULT_SIZES);
        Acker acker(segment_, nullptr);
        TupleConversionMap* columns = convert_tuples_by_name(RelationGetDescr(rel_), RelationGetDescr(target.segment));
        int moved = 0;
        for (const Found& found : found_) {
            if (moved == kMostMoved) break;
            CHECK_FOR_INTERRUPTS();
            const MemoryContext caller = MemoryContextSwitchTo(scratch);
            HeapTuple row = Lock(found);
            if (row != nullptr) {
                // Its long values lie in this segment's TOAST table.
                row = toast_flatten_tuple(row, RelationGetDescr(rel_));
                if (acker.DeleteLocked(found.msg_id, found.tid)) {
                    if (columns != nullptr) row = execute_attr_map_tuple(row, columns);
                    StoreAgain(target, row);
                    moved++;
                }
            }
            MemoryContextSwitchTo(caller);
            MemoryContextReset(scratch);
        }
        MemoryContextDelete(scratch);
        return moved;
    }

private:
    struct Found {
        ItemPointerData tid;
        int64 msg_id;
    };
    static constexpr int kMostPerPage = 4;

    page::Bound Look(BlockNumber block) {
        Buffer buffer = ReadBuffer(rel_, block);
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        const TimestampTz later = GetCurrentTimestamp() + kMoveAhead;
        const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
        HeapTupleData tuple;
        for (OffsetNumber off = FirstOffsetNumber; !failed_ && off <= last; off = OffsetNumberNext(off)) {
            const RowState state = page::Judge(rel_, buffer, off, &tuple);
            if (IsOver(state)) continue;
            failed_ = state != RowState::kLive || !IsStraggler(&tuple, later);
            if (!failed_) found_.push_back({tuple.t_self, HeadOf(tuple.t_data)->msg_id});
        }
        UnlockReleaseBuffer(buffer);
        return page::kUnknown;
    }

    bool IsStraggler(HeapTuple tuple, TimestampTz later) const {
        // One that has been read may be given back to its old place by a rollback.
        if (!HasHead(tuple) || HeadOf(tuple->t_data)->receipt != 0 || HeadOf(tuple->t_data)->vt <= later) return false;
        bool null = false;
        (void)heap_getattr(tuple, kGroupKey, RelationGetDescr(rel_), &null);
        return null;
    }

    // A copy of the row, which nobody else can change any more. Null: somebody has it, or it is to be had soon.
    HeapTuple Lock(const Found& found) {
        HeapTupleData tuple{};
        tuple.t_self = found.tid;
        TM_FailureData failure;
        Buffer buffer = InvalidBuffer;
        const TM_Result result = heap_lock_tuple(rel_, &tuple, GetCurrentCommandId(true), LockTupleExclusive,
                                                 LockWaitSkip, false, &buffer, &failure);
        HeapTuple copy = nullptr;
        if (result == TM_Ok) {
            LockBuffer(buffer, BUFFER_LOCK_SHARE);
            const RowHead* head = HeadOf(tuple.t_data);
            if (head->msg_id == found.msg_id && IsStraggler(&tuple, GetCurrentTimestamp()))
                copy = heap_copytuple(&tuple);
            LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
        }
        ReleaseBuffer(buffer);
        return copy;
    }

    const OpenedQueue& segment_;
    Relation rel_;
    pg::Vector<Found> found_;
    bool failed_ = false;
};

class Tender {
public:
    Tender(const OpenedQueue& opened, const char* name, bool idle)
        : name_(name), parent_(opened.queue->parent), idle_(idle), queue_(opened.queue), owner_(opened.queue->owner),
          plain_(SegmentOf(opened).plain_indexes) {
        for (int i = 0; i < queue_->segment_count; i++)
            segments_.push_back({queue_->segments[i].table, queue_->segments[i].number});
    }

    SegmentWork Run() {
        Recycle();
        CloseUp();
        if (WantsNew())
            AddSegment();
        else if (idle_)
            DropSpares();
        work_.waits |= segments_.size() > 1;
        return work_;
    }

private:
    // Every segment but the newest; that one, too, where nobody sends any more.
    void Recycle() {
        struct Dead {
            SegmentTable table;
            bool removable;
        };
        pg::Vector<Dead> dead;
        int64 bytes = 0;
        for (std::size_t i = 0; i < segments_.size(); i++) {
            const SegmentTable& table = segments_[i];
            if (i + 1 == segments_.size() && !idle_) break;
            const BlockNumber blocks = BlocksAtOnce(table.table);
            if (blocks == 0) continue;
            // A long newest one has a successor soon.
            const bool newest = i + 1 == segments_.size();
            if (newest && (blocks < page::kFewPages || blocks >= static_cast<BlockNumber>(settings::segment_size)))
                continue;
            bool removable = false;
            if (!IsDrained(table, newest, &removable)) continue;
            const int64 size = SizeOf(table.table);
            bytes += size;
            dead.push_back({table, removable});
        }
        for (const Dead& segment : dead) {
            // For snapshots that might want to see it only.
            const bool too_much =
                settings::max_dead_bytes >= 0 && bytes > settings::max_dead_bytes * int64{1024} * 1024;
            const int64 size = SizeOf(segment.table.table);
            if ((segment.removable || too_much) && Empty(segment.table, !segment.removable)) {
                bytes -= size;
                work_.changed = true;
            } else {
                work_.waits = true;
            }
        }
    }

    bool IsDrained(const SegmentTable& table, bool newest, bool* removable) {
        if (!ConditionalLockRelationOid(table.table, AccessShareLock)) return false;
        bool drained = false;
        if (const auto segment = TryOpenSegment(queue_, table.number, AccessShareLock)) {
            Relation rel = segment->segment;
            const Drained* known = newest ? nullptr : FindKnown(rel);
            if (HasTruncateTrigger(rel)) {
                // Never, then.
            } else if (known != nullptr) {
                drained = true;
                *removable = IsPast(rel, known->newest);
            } else if (Looker(*segment).HasMessages()) {
                if (!newest) MoveStragglers(*segment);
            } else if (const auto writer = NewestWriter(rel)) {
                drained = true;
                *removable = IsPast(rel, *writer);
                if (!newest) {
                    ForgetKnown(table.table);
                    Known()->push_back({table.table, compat::FileNumberOf(rel), *writer});
                }
            }
            Close(*segment, AccessShareLock);
        }
        UnlockRelationOid(table.table, AccessShareLock);
        return drained;
    }

    // The numbers of segments must not be far apart: one that stays long is renamed, behind the gap.
    void CloseUp() {
        if (segments_.size() < 2 || segments_.back().number - segments_.front().number < page::kMostSpan / 2) return;
        SegmentTable& oldest = segments_.front();
        const uint32 number = segments_[1].number - 1;
        char name[NAMEDATALEN];
        SegmentName(name_, static_cast<int>(number), name);
        if (number == oldest.number || OidIsValid(pg::RelationIn(kSchema, name)) || !LockAlone(oldest)) return;
        RenameRelationInternal(oldest.table, name, true, false);
        Detach(oldest.number);
        oldest.number = number;
        CacheInvalidateRelcacheByRelid(parent_);
        work_.changed = true;
    }

    // False: somebody has it, or it isn't what it was.
    bool LockAlone(const SegmentTable& table) {
        if (!queue::LockAlone(table.table)) return false;
        if (IsStill(table)) return true;
        UnlockRelationOid(table.table, AccessExclusiveLock);
        return false;
    }

    // With the segment to ourselves, after another look. The map says whether anything has come since the pages were
    // looked at: who stores rows lowers it before he gives his lock back. `forced`: some snapshot might want to see it.
    bool Empty(const SegmentTable& table, bool forced) {
        if (!LockAlone(table)) return false;
        bool good = false;
        if (const auto segment = TryOpenSegment(queue_, table.number, AccessExclusiveLock)) {
            Relation rel = segment->segment;
            const Drained* known = FindKnown(rel);
            std::optional<TransactionId> writer;
            if (known == nullptr)
                writer = NewestWriter(rel);
            else if (Looker looker(*segment); !looker.HasMessages() && !looker.HasLooked())
                writer = known->newest;
            else
                ForgetKnown(table.table);  // somebody has stored rows there, by COPY
            good = writer && (IsPast(rel, *writer) || (forced && IsFresh(rel)));
            Close(*segment, AccessExclusiveLock);  // it is locked still
        }
        if (!good) {
            UnlockRelationOid(table.table, AccessExclusiveLock);
            return false;
        }
        {
            // As its owner, whose triggers it may have.
            const pg::RunAs as(owner_, SECURITY_RESTRICTED_OPERATION);
            pg::Spi spi;
            spi.Run(psprintf("TRUNCATE ONLY %s.%s", kSchema, quote_identifier(get_rel_name(table.table))));
        }
        Detach(table.number);
        ForgetKnown(table.table);
        NoteFresh(table.table);
        CacheInvalidateRelcacheByRelid(parent_);
        return true;
    }

    // Whether the table bears its name as before.
    bool IsStill(const SegmentTable& table) const {
        char name[NAMEDATALEN];
        SegmentName(name_, static_cast<int>(table.number), name);
        return pg::RelationIn(kSchema, name) == table.table;
    }

    // While its lock keeps others from it: its pages count as unknown to whoever attaches it next.
    void Detach(uint32 number) {
        for (const page::MapKind kind : {page::MapKind::kDeliverable, page::MapKind::kExpiry})
            page::DetachPart(MapKey(parent_, kind), number);
    }

    // The more there is, the longer are the segments, so that there are never many.
    bool WantsNew() {
        const SegmentTable& newest = segments_.back();

        BlockNumber all = 0;
        BlockNumber own = 0;
        int used = 0;
        for (const SegmentTable& table : segments_) {
            own = BlocksAtOnce(table.table);
            all += own;
            used += own > 0;
        }
        work_.newest = own;
        if (own < std::max<BlockNumber>(settings::segment_size, all / 2)) {
            work_.waits |= own >= static_cast<BlockNumber>(settings::segment_size);
            return false;
        }
        const bool may = used < kMostNewSegments && plain_ && newest.number < PG_INT32_MAX - 1 &&
                         newest.number - segments_.front().number + 1 < page::kMostSpan;
        if (!may) LeaveToAutovacuum(newest.table);
        return may;
    }

    // A table that the queue has to stay in.
    void LeaveToAutovacuum(Oid table) {
        if (!ConditionalLockRelationOid(table, ShareUpdateExclusiveLock)) return;
        Relation rel = try_relation_open(table, NoLock);
        if (rel == nullptr) return;
        const auto* options = reinterpret_cast<const StdRdOptions*>(rel->rd_options);
        const bool off = options != nullptr && !options->autovacuum.enabled;
        relation_close(rel, NoLock);
        if (!off) return;
        const pg::RunAs as(owner_, SECURITY_RESTRICTED_OPERATION);
        pg::Spi spi;
        spi.Run(psprintf("ALTER TABLE %s.%s RESET (autovacuum_enabled, toast.autovacuum_enabled)", kSchema,
                         quote_identifier(get_rel_name(table))));
        work_.changed = true;
    }

    void AddSegment() {
        const uint32 number = segments_.back().number + 1;
        // Two who would do the same; and who drops the queue.
        if (!ConditionalLockRelationOid(parent_, ShareUpdateExclusiveLock)) {
            work_.waits = true;
            return;
        }
        char name[NAMEDATALEN];
        SegmentName(name_, static_cast<int>(number), name);
        if (OidIsValid(pg::RelationIn(kSchema, name))) return;  // somebody's table
        if (!UseEmptyOne(name)) {
            if (segments_.size() >= kMostNewSegments) return;
            const pg::RunAs as(pg::ExtensionOwner());
            pg::Spi spi;
            MakeSegment(&spi, name_, number, segments_.back().table, owner_);
            NoteFresh(pg::RelationIn(kSchema, name));
        }
        CacheInvalidateRelcacheByRelid(parent_);
        work_.changed = true;
    }

    // An idle queue costs one table.
    void DropSpares() {
        for (std::size_t i = 0; i + 1 < segments_.size(); i++)
            if (BlocksAtOnce(segments_[i].table) > 0) return;
        while (segments_.size() > 1) {
            const SegmentTable& table = segments_.front();
            if (!LockAlone(table) || BlocksOf(table.table) > 0) return;
            {
                const pg::RunAs as(owner_, SECURITY_RESTRICTED_OPERATION);
                pg::Spi spi;
                spi.Run(psprintf("DROP TABLE %s.%s", kSchema, quote_identifier(get_rel_name(table.table))));
            }
            Detach(table.number);
            ForgetKnown(table.table);
            CacheInvalidateRelcacheByRelid(parent_);
            segments_.erase(segments_.begin());
            work_.changed = true;
        }
    }

    // An emptied segment gets the new one's name.
    bool UseEmptyOne(const char* name) {
        for (std::size_t i = 0; i + 1 < segments_.size(); i++) {
            const SegmentTable& table = segments_[i];
            if (!LockAlone(table)) continue;
            if (BlocksOf(table.table) > 0) {
                UnlockRelationOid(table.table, AccessExclusiveLock);
                continue;
            }
            RenameRelationInternal(table.table, name, true, false);
            Detach(table.number);
            return true;
        }
        return false;
    }

    // Messages that are not due for long, and have no group that they might be late for, are stored again in the newest
    // segment, if all that is left here is of that kind, and little.
    void MoveStragglers(const OpenedQueue& segment) {
        if (segments_.size() < 3 || segment.number + 1 >= segments_.back().number) return;
        Stragglers stragglers(segment);
        if (!stragglers.Find()) return;
        const SegmentTable& newest = segments_.back();
        if (!ConditionalLockRelationOid(newest.table, RowExclusiveLock) ||
            !ConditionalLockRelationOid(segment.segment->rd_id, RowExclusiveLock))
            return;
        const auto target = TryOpenSegment(queue_, newest.number, RowExclusiveLock);
        if (!target) return;
        // Nobody who still sees them here may miss them: this one waits for all snapshots.
        NoteFresh(segment.segment, false);
        const pg::RunAs as(owner_, SECURITY_RESTRICTED_OPERATION);
        work_.changed |= stragglers.Move(*target) > 0;
        Close(*target);
    }

    const char* name_;
    Oid parent_;
    bool idle_;
    Queue* queue_;
    Oid owner_;
    bool plain_;  // of the newest segment
    pg::Vector<SegmentTable> segments_;
    SegmentWork work_;
};

}  // namespace

SegmentWork TendSegments(const char* queue, bool idle) {
    char name[NAMEDATALEN];
    ParentName(queue, name);
    const Oid parent = pg::RelationIn(kSchema, name);
    if (!OidIsValid(parent)) return {};
    // Whoever has the tables locked is not waited for: the worker has other things to do.
    if (!ConditionalLockRelationOid(parent, AccessShareLock)) return {false, 0, true};
    pg::Vector<Oid> locked;
    if (pg::RelationIn(kSchema, name) != parent || !LockAtOnce(SegmentsOf(parent, queue), &locked))
        return {false, 0, true};
    const OpenedQueue opened = Open(queue, 0, AccessShareLock);
    Tender tender(opened, queue, idle);
    // None is kept: they are to be emptied.
    Close(opened, AccessShareLock);
    UnlockAll(locked);
    return tender.Run();
}

}  // namespace pgqueue::queue
