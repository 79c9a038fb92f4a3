// A queue's segments as one row of pages, oldest first, as its page map has them: for those who look through the whole
// queue in the order in which messages were sent. Segments are opened when a page of theirs is wanted.
#pragma once

#include "pgqueue/queue/queue.hpp"

namespace pgqueue::queue {

class SegmentPages {
public:
    struct Part {
        OpenedQueue opened;  // without a segment: not opened yet
        page::SegmentRef map;
        bool keep;  // its lock
    };

    SegmentPages(const OpenedQueue& opened, LOCKMODE lock) : opened_(opened), lock_(lock) {}

    // Makes the list of segments anew, with handles of one map. To be called first, and when the map has gone stale or
    // there is a segment that isn't known (see page::ForDuePages).
    void Begin();
    const page::SegmentRef& Map() const { return whole_; }
    boost::container::static_vector<Part, kMostSegments>& Parts() { return parts_; }
    // Opens the part. False: the queue has changed; Begin again.
    bool Open(Part* part);
    // The part of a page that Next has returned, which is open then.
    Part& At(BlockNumber block) { return parts_[IndexOf(block)]; }
    // As Next; opens the segment. Nothing: the queue has changed.
    std::optional<BlockNumber> NextOpened(BlockNumber block);
    // Closes what was opened here, and gives the locks back of parts that needn't keep them.
    void Close();

    // See page::TablePages.
    BlockNumber Next(BlockNumber block) const;
    bool Knows(const page::Range& range, BlockNumber start);

private:
    // The last part that begins at or before the page.
    std::size_t IndexOf(BlockNumber block) const {
        std::size_t i = parts_.size() - 1;
        while (i > 0 && parts_[i].map.base > block) i--;
        return i;
    }
    bool Has(BlockNumber block) const {
        const Part& part = parts_[IndexOf(block)];
        return block >= part.map.base && block - part.map.base < part.map.pages;
    }

    const OpenedQueue& opened_;
    LOCKMODE lock_;
    page::SegmentRef whole_;
    boost::container::static_vector<Part, kMostSegments> parts_;
    BlockNumber strange_ = InvalidBlockNumber;  // a page in no segment that was known when it was met
};

}  // namespace pgqueue::queue
