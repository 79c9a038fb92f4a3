#include "pgqueue/queue/segment_pages.hpp"

#include "pgqueue/page/visibility.hpp"

namespace pgqueue::queue {

void SegmentPages::Begin() {
    Queue* queue = opened_.queue;
    for (;;) {
        CHECK_FOR_INTERRUPTS();
        Close();
        AcceptInvalidationMessages();
        if (!IsValid(queue)) Refresh(queue);
        bool good = true;
        for (int i = 0; good && i < queue->segment_count; i++) {
            Segment* segment = &queue->segments[i];
            Part part{{queue, nullptr, segment->number, InvalidOid}, {}, false};
            if (segment->number == opened_.number) part.opened = opened_;
            if (part.opened.segment != nullptr || !page::IsCurrent(segment->map)) {
                good = Open(&part);
                if (good) part.map = MapOf(part.opened);
            } else {
                part.map = segment->map;
            }
            parts_.push_back(part);
        }
        // To attach one may have made the map anew.
        for (const Part& part : parts_) good = good && part.map.generation == parts_.back().map.generation;
        if (good) break;
    }
    whole_ = page::Whole(parts_.back().map);
}

bool SegmentPages::Open(Part* part) {
    if (part->opened.segment != nullptr) return true;
    const auto opened = TryOpenSegment(opened_.queue, part->opened.number, lock_);
    if (opened) part->opened = *opened;
    return opened.has_value();
}

void SegmentPages::Close() {
    for (const Part& part : parts_)
        if (part.opened.segment != nullptr && part.opened.number != opened_.number)
            queue::Close(part.opened, part.keep ? NoLock : lock_);
    parts_.clear();
}

BlockNumber SegmentPages::Next(BlockNumber block) const {
    for (std::size_t i = IndexOf(block); i < parts_.size(); i++) {
        const Part& part = parts_[i];
        const BlockNumber own = block > part.map.base ? block - part.map.base : 0;
        if (part.map.base > block && part.opened.segment == nullptr) return part.map.base;
        if (part.opened.segment != nullptr && own < part.map.pages && page::BlockExists(part.opened.segment, own))
            return part.map.base + own;
    }
    return InvalidBlockNumber;
}

std::optional<BlockNumber> SegmentPages::NextOpened(BlockNumber block) {
    for (std::size_t i = IndexOf(block); i < parts_.size(); i++) {
        Part& part = parts_[i];
        const BlockNumber own = block > part.map.base ? block - part.map.base : 0;
        if (own >= part.map.pages) continue;
        if (!Open(&part)) return std::nullopt;
        if (page::BlockExists(part.opened.segment, own)) return part.map.base + own;
    }
    AcceptInvalidationMessages();
    if (!IsValid(opened_.queue)) return std::nullopt;
    return InvalidBlockNumber;
}

// Numbers of segments only grow. So a page of none that we know belongs to a newer one, of which we hear now, or to one
// that is gone.
bool SegmentPages::Knows(const page::Range& range, BlockNumber start) {
    if (range.level == 0) {
        if (Has(start)) return Open(&At(start));
        if (start < parts_.back().map.base) return true;
        return std::exchange(strange_, start) == start;
    }
    AcceptInvalidationMessages();
    if (!IsValid(opened_.queue)) return false;
    for (Part& part : parts_)
        if (part.map.base + (part.map.pages - 1) >= start && part.map.base < range.end && !Open(&part)) return false;
    return true;
}

}  // namespace pgqueue::queue
