#include "pgqueue/queue/figures.hpp"

#include "pgqueue/page/transaction.hpp"
#include "pgqueue/queue/row_state.hpp"

namespace pgqueue::queue {
namespace {

constexpr int kLeafBudget = 2048;  // leaves of which the map's words are read, for each band's share
constexpr int kExact = 64;         // pages of a stratum that are all looked at
constexpr int kEnd = 8;            // otherwise: so many from each end
constexpr int kMiddle = 48;        // and so many from between, evenly spread

constexpr uint64 kChunkPages = uint64{page::kLeafPages} * page::kChunkLeaves;

enum Field { kReady, kInFlight, kDelayed, kPages, kFields };  // kPages: with a message

struct Counts {
    std::array<double, kFields> value{};

    double& operator[](int i) { return value[i]; }
    double operator[](int i) const { return value[i]; }
    bool Any() const { return value[kPages] > 0; }
};

// The pages of one kind, those that are due or those that will be later: the set bits of a list of leaves.
struct Stratum {
    pg::Vector<uint32> leaf;    // ascending
    pg::Vector<uint64> bits;    // never 0
    pg::Vector<uint64> before;  // pages in the leaves before
    uint64 count = 0;

    void Add(uint32 at, uint64 pages) {
        if (pages == 0) return;
        leaf.push_back(at);
        bits.push_back(pages);
        before.push_back(count);
        count += static_cast<uint64>(__builtin_popcountll(pages));
    }
    BlockNumber PageAt(uint64 position) const {
        const auto i =
            static_cast<std::size_t>(std::upper_bound(before.begin(), before.end(), position) - before.begin() - 1);
        uint64 pages = bits[i];
        for (uint64 skip = position - before[i]; skip > 0; skip--) pages &= pages - 1;
        return leaf[i] * page::kLeafPages + static_cast<BlockNumber>(__builtin_ctzll(pages));
    }
};

class Estimator {
public:
    explicit Estimator(const OpenedQueue& opened)
        : opened_(opened), rel_(opened.segment), now_(GetCurrentTimestamp()) {}

    Figures Run() {
        blocks_ = RelationGetNumberOfBlocks(rel_);
        figures_.table_pages = blocks_;
        if (!RecoveryInProgress()) {
            map_ = page::FindMap(MapKey(opened_.queue->parent), opened_.number, rel_, SegmentOf(opened_).trigger_stamp);
            page::ShowOwnTouches(map_);
        }
        ReadMap();
        for (const Stratum* stratum : {&due_, &later_}) LookAt(*stratum);
        figures_.margin = 1.96 * std::sqrt(std::max({variance_[kReady], variance_[kInFlight], variance_[kDelayed]}));
        return figures_;
    }

private:
    // Which pages may hold a message. Without a map, or once it is evicted under us, all of them may.
    void ReadMap() {
        bool mapped = map_.generation != 0;
        const auto chunks = static_cast<uint32>((blocks_ + kChunkPages - 1) / kChunkPages);
        pg::Vector<uint64> leaves;
        leaves.resize(chunks);
        uint64 candidates = 0;
        for (uint32 chunk = 0; chunk < chunks; chunk++) {
            if (!mapped || !page::FindLeaves(map_, chunk, &leaves[chunk])) {
                mapped = false;
                leaves[chunk] = ~uint64{0};
            }
            const uint64 left = (blocks_ - chunk * kChunkPages + page::kLeafPages - 1) / page::kLeafPages;
            if (left < page::kChunkLeaves) leaves[chunk] &= (uint64{1} << left) - 1;
            candidates += static_cast<uint64>(__builtin_popcountll(leaves[chunk]));
        }
        const uint64 budget = std::max(16, kLeafBudget / (mapped ? page::BandCount(map_) : 1));
        const uint64 wanted = std::min(candidates, budget);
        weight_ = wanted > 0 ? static_cast<double>(candidates) / static_cast<double>(wanted) : 1;
        // Of the candidates take those at i * (candidates - 1) / (wanted - 1): the first and the last among them.
        uint64 seen = 0;
        uint64 taken = 0;
        const page::Bound now = page::BoundOf(now_);
        page::LeafPages out[page::kChunkLeaves];
        for (uint32 chunk = 0; chunk < chunks; chunk++) {
            uint64 chosen = 0;
            for (uint64 rest = leaves[chunk]; rest != 0; rest &= rest - 1, seen++) {
                if (taken < wanted && (wanted == 1 || seen == taken * (candidates - 1) / (wanted - 1))) {
                    chosen |= rest & -rest;
                    taken++;
                }
            }
            if (chosen == 0) continue;
            if (!mapped || !page::ReadLeaves(map_, chunk, chosen, now, out)) {
                mapped = false;
                for (page::LeafPages& leaf : out) leaf = {~uint64{0}, 0};
            }
            for (; chosen != 0; chosen &= chosen - 1) {
                const int g = __builtin_ctzll(chosen);
                const uint32 at = chunk * page::kChunkLeaves + static_cast<uint32>(g);
                const uint64 left = blocks_ - uint64{at} * page::kLeafPages;
                const uint64 there = left < page::kLeafPages ? (uint64{1} << left) - 1 : ~uint64{0};
                due_.Add(at, out[g].due & there);
                later_.Add(at, out[g].later & there);
            }
        }
        if (!mapped) map_.generation = 0;
    }

    // Looks at the stratum's pages, or at a sample, and adds up.
    void LookAt(const Stratum& stratum) {
        if (stratum.count == 0) return;
        if (stratum.count <= kExact) {
            if (weight_ > 1) figures_.exact = false;
            for (uint64 i = 0; i < stratum.count; i++) {
                Counts counts = Look(stratum.PageAt(i));
                Add(counts, weight_);
                for (int f = 0; f < kFields; f++) variance_[f] += weight_ * (weight_ - 1) * counts[f] * counts[f];
            }
            return;
        }
        figures_.exact = false;
        looks_.clear();
        for (uint64 i = 0; i < kEnd; i++) Add(LookNote(stratum, i), 1);
        const uint64 middle = stratum.count - 2 * kEnd;
        const double scale = static_cast<double>(middle) / kMiddle * weight_;
        Counts last{};
        Counts steps{};  // squares of the differences between neighbours
        for (uint64 i = 0; i < kMiddle; i++) {
            Counts counts = LookNote(stratum, kEnd + (2 * i + 1) * middle / (2 * kMiddle));
            Add(counts, scale);
            for (int f = 0; i > 0 && f < kFields; f++) steps[f] += (counts[f] - last[f]) * (counts[f] - last[f]);
            last = counts;
        }
        for (uint64 i = stratum.count - kEnd; i < stratum.count; i++) Add(LookNote(stratum, i), 1);
        // The sample is spread evenly, so what counts is how neighbours differ.
        const double all = static_cast<double>(middle) * weight_;
        for (int f = 0; f < kFields; f++)
            variance_[f] += all * (all - kMiddle) / kMiddle * steps[f] / (2 * (kMiddle - 1));
        FindEnds(stratum);
    }

    // The first and the last page with a message may lie between two of the sample: of which one has none. What lies
    // before the first is most often what was deleted, so halving finds it.
    void FindEnds(const Stratum& stratum) {
        const auto any = [](const Noted& noted) { return noted.any; };
        const auto first = std::find_if(looks_.begin(), looks_.end(), any);
        if (first == looks_.end()) return;
        if (first != looks_.begin()) {
            uint64 without = (first - 1)->position;
            uint64 with = first->position;
            while (with - without > 1) {
                const uint64 between = without + (with - without) / 2;
                (Look(stratum.PageAt(between)).Any() ? with : without) = between;
            }
        }
        std::size_t last = looks_.size() - 1;
        while (!looks_[last].any) last--;
        if (last + 1 == looks_.size()) return;
        uint64 with = looks_[last].position;
        uint64 without = looks_[last + 1].position;
        while (without - with > 1) {
            const uint64 between = with + (without - with) / 2;
            (Look(stratum.PageAt(between)).Any() ? with : without) = between;
        }
    }

    void Add(const Counts& counts, double scale) {
        figures_.ready += counts[kReady] * scale;
        figures_.in_flight += counts[kInFlight] * scale;
        figures_.delayed += counts[kDelayed] * scale;
        figures_.live_pages += counts[kPages] * scale;
    }

    Counts LookNote(const Stratum& stratum, uint64 position) {
        const Counts counts = Look(stratum.PageAt(position));
        looks_.push_back({position, counts.Any()});
        return counts;
    }

    Counts Look(BlockNumber block) {
        CHECK_FOR_INTERRUPTS();
        Counts counts{};
        Buffer buffer = ReadBuffer(rel_, block);
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        const OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
        HeapTupleData tuple;
        for (OffsetNumber off = FirstOffsetNumber; off <= last; off = OffsetNumberNext(off)) {
            const RowState state = page::Judge(rel_, buffer, off, &tuple);
            // Others' rows that aren't committed don't count, nor what we have deleted, nor what we only now insert.
            if (state != RowState::kLive && state != RowState::kChanging) continue;
            if (!HasHead(&tuple)) {
                figures_.not_a_message = tuple.t_self;
                continue;
            }
            if (ExpiryOf(&tuple, RelationGetDescr(rel_)) <= now_) continue;  // waits for the worker only
            const RowHead* head = HeadOf(tuple.t_data);
            counts[kPages] = 1;
            const TimestampTz due = IsDue(head, now_) ? head->vt : FreeAt(head, tuple.t_self);
            if (IsDue(head, now_) || due <= now_) {
                counts[kReady]++;
                figures_.ready_since = std::min(figures_.ready_since, due);
            } else if (head->receipt != 0) {
                counts[kInFlight]++;
            } else {
                counts[kDelayed]++;
            }
            figures_.oldest = std::min(figures_.oldest, head->enqueued_at);
            figures_.newest = std::max(figures_.newest, head->enqueued_at);
            figures_.most_attempts = std::max(figures_.most_attempts, head->read_ct);
        }
        UnlockReleaseBuffer(buffer);
        return counts;
    }

    // As EffectiveVt, which wants a map. A standby knows no lease that was given back.
    TimestampTz FreeAt(const RowHead* head, const ItemPointerData& tid) const {
        if (map_.generation != 0) return EffectiveVt(map_, head, tid, now_);
        if (head->receipt == 0 || RecoveryInProgress()) return head->vt;
        return std::min(page::FindReleased(LeaseOf(map_, head, tid)).value_or(head->vt), head->vt);
    }

    struct Noted {
        uint64 position;
        bool any;
    };

    const OpenedQueue& opened_;
    Relation rel_;
    TimestampTz now_;
    BlockNumber blocks_ = 0;
    page::SegmentRef map_{};  // generation 0: none
    double weight_ = 1;       // of a leaf that was read
    Stratum due_;
    Stratum later_;
    boost::container::static_vector<Noted, 2 * kEnd + kMiddle> looks_;  // of one stratum
    Figures figures_;
    Counts variance_{};
};

}  // namespace

namespace {

void Add(const Figures& more, Figures* sum) {
    sum->ready += more.ready;
    sum->in_flight += more.in_flight;
    sum->delayed += more.delayed;
    sum->live_pages += more.live_pages;
    sum->table_pages += more.table_pages;
    sum->margin = std::hypot(sum->margin, more.margin);
    sum->exact &= more.exact;
    sum->oldest = std::min(sum->oldest, more.oldest);
    sum->newest = std::max(sum->newest, more.newest);
    sum->ready_since = std::min(sum->ready_since, more.ready_since);
    sum->most_attempts = std::max(sum->most_attempts, more.most_attempts);
    if (!ItemPointerIsValid(&sum->not_a_message)) sum->not_a_message = more.not_a_message;
}

}  // namespace

Figures Estimate(const OpenedQueue& opened) {
    Figures figures;
    ForSegments(opened, AccessShareLock, [&](const OpenedQueue& segment) {
        // The lists are left to their memory context.
        const MemoryContext context =
            AllocSetContextCreate(CurrentMemoryContext, "pgqueue figures", ALLOCSET_DEFAULT_SIZES);
        const MemoryContext caller = MemoryContextSwitchTo(context);
        Add(Estimator(segment).Run(), &figures);
        MemoryContextSwitchTo(caller);
        MemoryContextDelete(context);
        return false;
    });
    return figures;
}

}  // namespace pgqueue::queue
