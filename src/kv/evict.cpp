#include "pgqueue/kv/evict.hpp"

#include "pgqueue/kv/purge.hpp"

namespace pgqueue::kv {
namespace {

using page::RowState;

constexpr BlockNumber kSample = 16;  // pages
constexpr int kMost = 16;            // entries at one time

struct Candidate {
    TimestampTz expires_at;
    int64 version;
    ItemPointerData tid;
    bool operator<(const Candidate& other) const {
        return expires_at != other.expires_at ? expires_at < other.expires_at : version < other.version;
    }
};

// The `wanted` entries of the page that go first, joined to those that were found before.
void LookAt(Relation rel, BlockNumber block, std::size_t wanted, pg::Vector<Candidate>* first) {
    Buffer buffer = ReadBuffer(rel, block);
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
    HeapTupleData tuple;
    for (OffsetNumber off = FirstOffsetNumber; off <= last; off = OffsetNumberNext(off)) {
        if (page::Judge(rel, buffer, off, &tuple) != RowState::kLive || !KeyOf(&tuple)) continue;
        const ValueHead* head = ValueHeadOf(tuple.t_data);
        const Candidate found{head->expires_at, head->version, tuple.t_self};
        if (first->size() == wanted && !(found < first->back())) continue;
        if (first->size() == wanted) first->pop_back();
        first->insert(std::upper_bound(first->begin(), first->end(), found), found);
    }
    UnlockReleaseBuffer(buffer);
}

}  // namespace

void Evict(const Table& values) {
    auto known = KnownEntries(values.store->stats);
    if (!known) {
        known = TakeCensus(values).rows;
        SetEntries(values.store->stats, *known);
    }
    if (*known < values.store->max_entries) return;
    const auto wanted = static_cast<std::size_t>(std::min<int64>(*known - values.store->max_entries + 1, kMost));
    pg::Vector<Candidate> first;
    first.reserve(wanted + 1);
    const BlockNumber blocks = RelationGetNumberOfBlocks(values.rel);
    for (BlockNumber i = 0; i < std::min(blocks, kSample); i++) {
        const BlockNumber block =
            blocks <= kSample ? i : static_cast<BlockNumber>(pg_prng_uint64(&pg_global_prng_state) % blocks);
        LookAt(values.rel, block, wanted, &first);
    }
    CommandCounterIncrement();
    for (Candidate& entry : first) {
        TM_FailureData failure;
        if (heap_delete(values.rel, &entry.tid, GetCurrentCommandId(true), InvalidSnapshot, false, &failure, false) ==
            TM_Ok)
            AddEntries(values.store->stats, -1);
    }
}

}  // namespace pgqueue::kv
