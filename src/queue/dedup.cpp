#include "pgqueue/queue/dedup.hpp"

#include "pgqueue/page/index_append.hpp"
#include "pgqueue/page/key_lock.hpp"
#include "pgqueue/page/visibility.hpp"
#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/heap_row.hpp"
#include "pgqueue/queue/ack.hpp"
#include "pgqueue/queue/numbers.hpp"
#include "pgqueue/queue/row.hpp"

namespace pgqueue::queue {
namespace {

constexpr const char* kTable = "dedup_keys";
constexpr char kSpace = 'd';
constexpr int64 kWindow = 300 * USECS_PER_SEC;

// The leading columns of queue.dedup_keys, fixed-width and NOT NULL.
struct EntryHead {
    int64 msg_id;
    TimestampTz sent_at;
};
// The columns behind them; the primary key has both, in this order.
constexpr AttrNumber kQueueName = 3;
constexpr AttrNumber kKey = 4;
constexpr int kHeadColumns = 2;

// Whatever the clock did: an entry from the future is as old as one from the past.
bool IsRecent(TimestampTz sent_at, TimestampTz now) { return sent_at < now + kWindow && now < sent_at + kWindow; }

std::string_view BytesOf(const text* value) { return {VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)}; }

// The entries of one queue, open for a send.
class Entries {
public:
    explicit Entries(const OpenedQueue& opened)
        : opened_(opened), created_at_(opened.queue->created_at), name_(CStringGetTextDatum(opened.queue->name)),
          rel_(table_open(pg::ExtensionRelation(kSchema, kTable), RowExclusiveLock)),
          index_(index_open(compat::PrimaryKeyOf(rel_), RowExclusiveLock)), slot_(table_slot_create(rel_, nullptr)) {}
    ~Entries() {
        ExecDropSingleTupleTableSlot(slot_);
        index_close(index_, NoLock);
        table_close(rel_, NoLock);
    }
    Entries(const Entries&) = delete;
    Entries& operator=(const Entries&) = delete;

    // The id of the message that the key has led to, if that counts still. Waits for an open transaction that has sent
    // the key.
    std::optional<int64> Find(text* key) {
        for (;;) {
            const Found found = Look(key);
            if (TransactionIdIsValid(found.open)) {
                Wait(found);
                continue;
            }
            return found.exists && Counts(found) ? std::optional(found.head.msg_id) : std::nullopt;
        }
    }

    // The same, or makes the entry with the id that `draw` answers, and answers nothing. Looking and making it are one
    // step for all sessions.
    template <class Draw>
    std::optional<int64> FindOrMake(text* key, Draw draw) {
        ItemPointerData locked;  // a row that we have locked, so that nobody else has it in hand
        ItemPointerSetInvalid(&locked);
        for (;;) {
            page::KeyLock lock(RelationGetRelid(rel_), kSpace, LockName(key));
            const Found found = Look(key);
            if (TransactionIdIsValid(found.open)) {
                lock.Release();
                Wait(found);
                continue;
            }
            if (found.exists) {
                if (Counts(found)) return found.head.msg_id;
                ItemPointerData tid = found.tid;
                TM_FailureData failure;
                // There is nobody to wait for where the row is locked by us.
                const bool wait = ItemPointerIsValid(&locked) && ItemPointerEquals(&tid, &locked);
                if (heap_delete(rel_, &tid, GetCurrentCommandId(true), InvalidSnapshot, wait, &failure, false) !=
                    TM_Ok) {
                    lock.Release();
                    locked = LockRow(found);
                    continue;
                }
            }
            ExecClearTuple(slot_);
            Make(key, draw());
            return std::nullopt;
        }
    }

private:
    struct Found {
        bool exists = false;
        EntryHead head{};
        ItemPointerData tid{};
        TransactionId open = InvalidTransactionId;  // of others: it inserts the entry, or deletes it
    };

    // The newest state of the key's entry. Its row stays pinned by the slot until the next look.
    //
    // Whoever replaces an entry makes the new row before the old one's deletion counts, so whatever commits or rolls
    // back while we look, one of both is seen, provided that both were there from the start: under the KeyLock, or for
    // a first look whose answer "none" decides nothing.
    Found Look(text* key) {
        SnapshotData dirty{};
        InitDirtySnapshot(dirty);
        ScanKeyData keys[2];
        ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_TEXTEQ, name_);
        ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(key));
        keys[0].sk_collation = keys[1].sk_collation = C_COLLATION_OID;
        IndexScanDesc scan = compat::BeginIndexScan(rel_, index_, &dirty, 2);
        index_rescan(scan, keys, 2, nullptr, 0);
        Found found;
        if (index_getnext_slot(scan, ForwardScanDirection, slot_)) {
            found.exists = true;
            bool copied = false;
            HeapTuple tuple = ExecFetchSlotHeapTuple(slot_, false, &copied);
            memcpy(&found.head, pg::DataOf(tuple->t_data), sizeof(found.head));
            found.tid = tuple->t_self;
            found.open = TransactionIdIsValid(dirty.xmin) ? dirty.xmin : dirty.xmax;
        }
        index_endscan(scan);
        return found;
    }

    // An entry that is older than its queue is of another queue of that name.
    bool Counts(const Found& found) {
        if (found.head.sent_at < created_at_) return false;
        return IsRecent(found.head.sent_at, GetCurrentTimestamp()) || MessageIsThere(opened_, found.head.msg_id);
    }

    void Wait(const Found& found) {
        ExecClearTuple(slot_);  // no pin while we wait
        ItemPointerData tid = found.tid;
        XactLockTableWait(found.open, rel_, &tid, XLTW_InsertIndexUnique);
        CHECK_FOR_INTERRUPTS();
    }

    // Waits for who has it in hand, be it by a mere row lock, and locks it. Answers its place, or none if it is over.
    // Pinned, so that the place is still this row's.
    ItemPointerData LockRow(const Found& found) {
        HeapTupleData tuple{};
        tuple.t_self = found.tid;
        TM_FailureData failure;
        Buffer buffer = InvalidBuffer;
        const TM_Result result = heap_lock_tuple(rel_, &tuple, GetCurrentCommandId(true), LockTupleExclusive,
                                                 LockWaitBlock, false, &buffer, &failure);
        ReleaseBuffer(buffer);
        CHECK_FOR_INTERRUPTS();
        ItemPointerData locked = found.tid;
        if (result != TM_Ok) ItemPointerSetInvalid(&locked);
        return locked;
    }

    void Make(text* key, int64 msg_id) {
        // Not before the queue, wherever the clock was then.
        const EntryHead head{msg_id, std::max(GetCurrentTimestamp(), created_at_)};
        const std::array<pg::Column, 2> columns = {{{name_, false}, {PointerGetDatum(key), false}}};
        HeapTuple row = pg::FormRow(RelationGetDescr(rel_), &head, sizeof(head), kHeadColumns, columns.data(),
                                    static_cast<int>(columns.size()));
        heap_insert(rel_, row, GetCurrentCommandId(true), 0, nullptr);
        Datum values[2] = {name_, PointerGetDatum(key)};
        page::InsertIntoIndex(index_, values, row->t_self, rel_, UNIQUE_CHECK_YES);
        heap_freetuple(row);
    }

    // The queue's name ends at a character that no name has.
    std::string_view LockName(const text* key) {
        char* end = lock_name_;
        end += strlcpy(end, opened_.queue->name, NAMEDATALEN);
        *end++ = '\0';
        memcpy(end, VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
        return {lock_name_, static_cast<std::size_t>(end - lock_name_) + VARSIZE_ANY_EXHDR(key)};
    }

    const OpenedQueue& opened_;
    TimestampTz created_at_;
    Datum name_;
    Relation rel_;
    Relation index_;
    TupleTableSlot* slot_;
    char lock_name_[NAMEDATALEN + 1 + kMaxKeyBytes];
};

// Those of the messages that have an id already, in runs of consecutive ids.
void SendDrawn(const OpenedQueue& opened, const OutgoingMessage* messages, const int64* ids, int count,
               SendOptions options) {
    for (int done = 0; done < count;) {
        int run = 1;
        while (done + run < count && ids[done + run] == ids[done] + run) run++;
        options.first_id = ids[done];
        (void)Send(opened, &messages[done], run, options);
        done += run;
    }
}

}  // namespace

void SendOnce(const OpenedQueue& opened, const OutgoingMessage* messages, int count, const SendOptions& options,
              int64* ids) {
    // Our own entries of this statement so far become visible to us, and can be replaced.
    CommandCounterIncrement();
    Entries entries(opened);
    if (count == 1) {
        const auto first =
            entries.FindOrMake(messages[0].dedup_key, [&] { return ids[0] = DrawIds(opened.queue, MapOf(opened), 1); });
        if (first)
            ids[0] = *first;
        else
            SendDrawn(opened, messages, ids, 1, options);
        return;
    }
    // In the order of the keys, so that two batches with the same ones don't wait for each other in a circle.
    pg::Vector<int> order;
    for (int i = 0; i < count; i++)
        if (messages[i].dedup_key != nullptr) order.push_back(i);
    const auto key = [&](int i) { return BytesOf(messages[i].dedup_key); };
    std::sort(order.begin(), order.end(), [&](int a, int b) { return key(a) != key(b) ? key(a) < key(b) : a < b; });
    constexpr int64 kNew = 0;
    pg::Vector<int> same(count);  // the first message of the batch with the same key
    for (int i = 0; i < count; i++) {
        same[i] = i;
        ids[i] = kNew;
    }
    for (std::size_t k = 0; k < order.size(); k++) {
        CHECK_FOR_INTERRUPTS();
        const int i = order[k];
        if (k > 0 && key(order[k - 1]) == key(i))
            same[i] = same[order[k - 1]];
        else
            ids[i] = entries.Find(messages[i].dedup_key).value_or(kNew);
    }
    // Ids in the order of the batch, as many as are needed, unless somebody sends one of the keys just now.
    int64 drawn = 0;
    for (int i = 0; i < count; i++) drawn += same[i] == i && ids[i] == kNew;
    int64 next = drawn > 0 ? DrawIds(opened.queue, MapOf(opened), drawn) : 0;
    pg::Vector<bool> sends(count);
    for (int i = 0; i < count; i++) {
        sends[i] = same[i] == i && ids[i] == kNew;
        if (sends[i]) ids[i] = next++;
    }
    for (const int i : order) {
        CHECK_FOR_INTERRUPTS();
        if (!sends[i]) continue;
        const auto first = entries.FindOrMake(messages[i].dedup_key, [&] { return ids[i]; });
        if (!first) continue;
        ids[i] = *first;
        sends[i] = false;
    }
    pg::Vector<OutgoingMessage> outgoing;
    pg::Vector<int64> outgoing_ids;
    outgoing.reserve(drawn);
    outgoing_ids.reserve(drawn);
    for (int i = 0; i < count; i++) {
        ids[i] = ids[same[i]];
        if (!sends[i]) continue;
        outgoing.push_back(messages[i]);
        outgoing_ids.push_back(ids[i]);
    }
    SendDrawn(opened, outgoing.data(), outgoing_ids.data(), static_cast<int>(outgoing.size()), options);
}

namespace {

// A queue as the sweep knows it. Not opened as others open it, which may raise for what its owner has made of it.
struct SweptQueue {
    std::string_view name;
    bool skip = false;   // somebody has it locked, or it isn't what we know
    bool there = false;  // otherwise it is gone
    Queue known{};       // its segments
    pg::Vector<Relation> rels;
    TimestampTz created_at = 0;
};

void OpenSwept(SweptQueue* swept) {
    char name[NAMEDATALEN];
    const char* queue = pnstrdup(swept->name.data(), swept->name.size());
    if (swept->name.size() > kMaxNameBytes) return;
    ParentName(queue, name);
    const Oid parent = pg::RelationIn(kSchema, name);
    if (!OidIsValid(parent)) return;
    swept->skip = true;
    // A restore may not have come to its settings yet, or to its messages: the primary key comes behind them.
    const auto created_at = CreatedAt(queue);
    if (!created_at) return;
    swept->created_at = *created_at;
    const pg::Vector<SegmentTable> segments = NumberedSegmentsOf(parent, queue);
    pg::Vector<Oid> locked;  // until the transaction's end
    if (segments.empty() || segments.size() > kMostSegments || !LockAtOnce(SegmentsOf(parent, queue), &locked)) return;
    swept->there = true;
    bool good = true;
    for (const SegmentTable& table : segments) {
        Relation rel = try_relation_open(table.table, NoLock);
        if (rel == nullptr) return;
        swept->rels.push_back(rel);
        Segment& segment = swept->known.segments[swept->known.segment_count++];
        segment.table = table.table;
        segment.number = table.number;
        if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relam != HEAP_TABLE_AM_OID) return;
        segment.primary_key = compat::PrimaryKeyOf(rel);
        if (!OidIsValid(segment.primary_key)) return;
        Relation index = index_open(segment.primary_key, AccessShareLock);
        good &= index->rd_index->indnatts == 1 && index->rd_index->indkey.values[0] == kMsgId &&
                TupleDescAttr(RelationGetDescr(rel), kMsgId - 1)->atttypid == INT8OID;
        index_close(index, NoLock);
    }
    swept->skip = !good;
}

class SweptQueues {
public:
    // The entry's queue no longer has its message, or is another one.
    bool Forgot(std::string_view queue, const EntryHead& head) {
        SweptQueue* swept = Find(queue);
        if (swept->skip) return false;
        if (!swept->there || head.sent_at < swept->created_at) return true;
        for (int i = 0; i < swept->known.segment_count; i++)  // oldest first: where they are moved from
            if (MessageIsIn({&swept->known, swept->rels[i], swept->known.segments[i].number, InvalidOid}, head.msg_id))
                return false;
        return true;
    }
    void Close() {
        for (const SweptQueue& queue : queues_)
            for (Relation rel : queue.rels) relation_close(rel, NoLock);
        queues_.clear();
        last_ = 0;
    }

private:
    static constexpr std::size_t kMost = 64;

    SweptQueue* Find(std::string_view name) {
        if (last_ < queues_.size() && queues_[last_].name == name) return &queues_[last_];
        for (last_ = 0; last_ < queues_.size(); last_++)
            if (queues_[last_].name == name) return &queues_[last_];
        if (queues_.size() >= kMost) Close();
        last_ = queues_.size();
        SweptQueue swept;
        swept.name = {pnstrdup(name.data(), name.size()), name.size()};
        queues_.push_back(swept);
        OpenSwept(&queues_[last_]);
        return &queues_[last_];
    }

    pg::Vector<SweptQueue> queues_;
    std::size_t last_ = 0;
};

BlockNumber swept_to = 0;  // by this worker; anywhere will do
Oid swept_table = InvalidOid;

struct Candidate {
    ItemPointerData tid;
    EntryHead head;
    std::string_view queue;
};

}  // namespace

SweepResult SweepDedup(int limit) {
    const Oid table = pg::RelationIn(kSchema, kTable);
    SweepResult result;
    result.done = true;
    if (!OidIsValid(table) || !ConditionalLockRelationOid(table, RowExclusiveLock)) return result;
    Relation rel = try_relation_open(table, NoLock);
    if (rel == nullptr) return result;
    if (std::exchange(swept_table, table) != table) swept_to = 0;
    SweptQueues queues;
    const TimestampTz now = GetCurrentTimestamp();
    pg::Vector<Candidate> candidates;
    for (; swept_to < RelationGetNumberOfBlocks(rel) && limit > 0; swept_to++) {
        CHECK_FOR_INTERRUPTS();
        candidates.clear();
        // The pin keeps the places of what we have seen from being given to other rows.
        Buffer buffer = ReadBuffer(rel, swept_to);
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
        for (OffsetNumber off = FirstOffsetNumber; off <= last; off = OffsetNumberNext(off)) {
            HeapTupleData tuple;
            if (page::Judge(rel, buffer, off, &tuple) != page::RowState::kLive) continue;
            Candidate candidate;
            memcpy(&candidate.head, pg::DataOf(tuple.t_data), sizeof(candidate.head));
            limit--;
            if (IsRecent(candidate.head.sent_at, now)) continue;
            candidate.tid = tuple.t_self;
            bool null = false;
            const Datum name = heap_getattr(&tuple, kQueueName, RelationGetDescr(rel), &null);
            const std::string_view bytes = BytesOf(DatumGetTextPP(name));
            candidate.queue = {pnstrdup(bytes.data(), bytes.size()), bytes.size()};
            candidates.push_back(candidate);
        }
        LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
        limit--;
        for (const Candidate& candidate : candidates) {
            if (!queues.Forgot(candidate.queue, candidate.head)) continue;
            ItemPointerData tid = candidate.tid;
            TM_FailureData failure;
            // Somebody may have replaced it meanwhile.
            if (heap_delete(rel, &tid, GetCurrentCommandId(true), InvalidSnapshot, false, &failure, false) == TM_Ok)
                result.removed++;
        }
        ReleaseBuffer(buffer);
    }
    result.done = swept_to >= RelationGetNumberOfBlocks(rel);
    if (result.done) swept_to = 0;
    queues.Close();
    table_close(rel, NoLock);
    return result;
}

}  // namespace pgqueue::queue
