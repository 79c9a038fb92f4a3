// Walking over the pages whose bound has come.
#pragma once

#include "pgqueue/page/page_map.hpp"
#include "pgqueue/page/visibility.hpp"

namespace pgqueue::page {

// Calls look(block, publish) for each page of the band that is due at `now`, in order, until done() says so. `look`
// returns when the page is due next and, where `publish`, has published that itself (see BeginLook); for pages without
// a word of their own it is done here. False: the map was evicted meanwhile.
template <class Look, class Done>
bool ForDuePages(Relation rel, const SegmentRef& map, int band, Bound now, Look look, Done done) {
    BlockNumber from = 0;
    Range range;
    while (!done()) {
        const Find find = FindDue(map, band, from, now, &range);
        if (find == Find::kStale) return false;
        if (find == Find::kNothing) return true;
        if (range.level > 0) {
            // A node may be missing only because nobody needed it yet.
            MakeRoom(map, band, std::max(from, range.start));
            if (FindDue(map, band, from, now, &range) != Find::kFound) continue;
        }
        const BlockNumber start = std::max(from, range.start);
        Bound least = kNever;
        BlockNumber block = start;
        bool stopped = false;
        // The table's end is asked for after the range's word was loaded: a page that comes later is lowered later.
        for (; !stopped && block < range.end && BlockExists(rel, block); block++) {
            CHECK_FOR_INTERRUPTS();
            least = std::min(least, look(block, range.level == 0));
            stopped = done();
        }
        if (stopped) return true;
        if (range.level > 0) {
            if (start == range.start) PublishRange(map, band, range, least);
        } else if (block == start) {
            Publish(map, band, start, range.word, kNever);
        }
        from = range.end;
    }
    return true;
}

}  // namespace pgqueue::page
