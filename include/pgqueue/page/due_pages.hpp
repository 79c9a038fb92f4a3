// Walking over the pages whose bound has come.
#pragma once

#include "pgqueue/page/page_map.hpp"
#include "pgqueue/page/visibility.hpp"

namespace pgqueue::page {

// The pages of one table, by a map, or a part of one, that is all its own.
class TablePages {
public:
    explicit TablePages(Relation rel) : rel_(rel) {}
    // The first page at or behind `block`; InvalidBlockNumber: there is none.
    BlockNumber Next(BlockNumber block) const { return BlockExists(rel_, block) ? block : InvalidBlockNumber; }
    // Whether all tables are known that may have pages in the range, from `start` on.
    static bool Knows(const Range&, BlockNumber) { return true; }

private:
    Relation rel_;
};

// Calls look(block, publish, range) for each page of the band that is due at `now`, in order, until done() says so.
// `look` returns when the page is due next and, where `publish`, has published that itself (see BeginLook); for pages
// without a word of their own it is done here. False: the map was evicted meanwhile, or there is a table that `pages`
// doesn't know.
template <class Pages, class Look, class Done>
bool ForDuePages(Pages* pages, const SegmentRef& map, int band, Bound now, Look look, Done done) {
    BlockNumber from = 0;
    Range range;
    while (!done()) {
        const Find find = FindDue(map, band, from, now, &range);
        if (find == Find::kStale) return false;
        if (find == Find::kNothing) return true;
        BlockNumber start = std::max(from, range.start);
        if (!pages->Knows(range, start)) return false;
        if (range.level > 0) {
            const BlockNumber next = pages->Next(start);
            if (next >= range.end) {  // a gap between two parts, or what was behind the end
                if (start == range.start) PublishRange(map, band, range, kNever);
                from = range.end;
                continue;
            }
            // A node may be missing only because nobody needed it yet.
            MakeRoom(map, band, next);
            if (FindDue(map, band, from, now, &range) != Find::kFound) continue;
            start = std::max(from, range.start);
            if (!pages->Knows(range, start)) return false;
        }
        Bound least = kNever;
        bool stopped = false;
        // A table's end is asked for after the range's word was loaded: a page that comes later is lowered later.
        const BlockNumber first = pages->Next(start);
        for (BlockNumber block = first; block < range.end; block = pages->Next(block + 1)) {
            CHECK_FOR_INTERRUPTS();
            if (range.level > 0) KeepInUse(map);
            least = std::min(least, look(block, range.level == 0, range));
            stopped = done();
            if (stopped) break;
        }
        if (stopped) return true;
        if (range.level > 0) {
            if (start == range.start) PublishRange(map, band, range, least);
        } else if (first != start) {
            Publish(map, band, start, range.word, kNever);
        }
        from = range.end;
    }
    return true;
}

}  // namespace pgqueue::page
