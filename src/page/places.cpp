#include "pgqueue/page/places.hpp"

#include "pgqueue/page/visibility.hpp"
#include "pgqueue/settings.hpp"

namespace pgqueue::page {
namespace {

// The first word: a part of the hash (22 bits), the block (32), the line pointer (10). 0: none, since no line pointer
// is 0.
constexpr int kOffsetBits = 10;
constexpr int kTagShift = 42;

struct Hint {
    pg_atomic_uint64 word;
    pg_atomic_uint64 buffer;
};
constexpr int kWays = 4;

struct Line {  // of the processor's cache
    Hint hint[kWays];
};
static_assert(sizeof(Line) == 64 && std::is_standard_layout_v<Line> && std::is_trivially_destructible_v<Line>);

Line* lines;

Size LineCount() { return static_cast<Size>(settings::kv_places_kb) * 1024 / sizeof(Line); }

Line* LineOf(uint64 hash) { return &lines[hash % LineCount()]; }

}  // namespace

uint64 PlaceHash(compat::FileNumber file, char kind, std::string_view key) {
    const uint64 seed = (uint64{MyDatabaseId} << 32 | file) * 0x9e3779b97f4a7c15u + static_cast<unsigned char>(kind);
    return hash_bytes_extended(reinterpret_cast<const unsigned char*>(key.data()), static_cast<int>(key.size()), seed);
}

std::optional<Place> FindPlace(uint64 hash) {
    const uint64 tag = hash >> kTagShift;
    for (Hint& hint : LineOf(hash)->hint) {
        const uint64 word = pg_atomic_read_u64(&hint.word);
        if (word == 0 || word >> kTagShift != tag) continue;
        Place place;
        ItemPointerSet(&place.tid, static_cast<BlockNumber>(word >> kOffsetBits),
                       static_cast<OffsetNumber>(word & ((1 << kOffsetBits) - 1)));
        place.buffer = static_cast<Buffer>(pg_atomic_read_u64(&hint.buffer));
        return place;
    }
    return std::nullopt;
}

void NotePlace(uint64 hash, const ItemPointerData& tid, Buffer buffer) {
    const uint64 tag = hash >> kTagShift;
    const OffsetNumber off = ItemPointerGetOffsetNumberNoCheck(&tid);
    if (off >= 1 << kOffsetBits) return;
    const uint64 word = tag << kTagShift | uint64{ItemPointerGetBlockNumberNoCheck(&tid)} << kOffsetBits | off;
    Hint* chosen = nullptr;
    for (Hint& hint : LineOf(hash)->hint) {
        const uint64 old = pg_atomic_read_u64(&hint.word);
        if (old != 0 && old >> kTagShift == tag) {
            if (old == word && static_cast<Buffer>(pg_atomic_read_u64(&hint.buffer)) == buffer) return;
            chosen = &hint;
            break;
        }
        if (chosen == nullptr && old == 0) chosen = &hint;
    }
    // Any may give way; the place's own bits choose, so that the same keys don't fight for ever.
    if (chosen == nullptr) chosen = &LineOf(hash)->hint[(hash >> 20 ^ word >> 3) % kWays];
    pg_atomic_write_u64(&chosen->buffer, static_cast<uint64>(buffer));
    pg_atomic_write_u64(&chosen->word, word);
}

Buffer ReadPlace(Relation rel, const Place& place) {
    const BlockNumber block = ItemPointerGetBlockNumber(&place.tid);
    // While the buffer is pinned the processor fetches what is looked at next.
    if (place.buffer > 0 && place.buffer <= NBuffers) {
        const char* page = BufferGetPage(place.buffer);
        __builtin_prefetch(page);
        __builtin_prefetch(page + SizeOfPageHeaderData + ItemPointerGetOffsetNumber(&place.tid) * sizeof(ItemIdData));
    }
    // A buffer that holds the page says that the page exists: those of pages that are cut off are dropped.
    if (place.buffer > 0 && place.buffer <= NBuffers && !RelationUsesLocalBuffers(rel) &&
        compat::ReadRecentBuffer(rel, block, place.buffer))
        return place.buffer;
    return BlockExists(rel, block) ? ReadBuffer(rel, block) : InvalidBuffer;
}

Size PlacesShmemSize() { return mul_size(LineCount() + 1, sizeof(Line)); }

void PlacesShmemInit() {
    bool found = false;
    char* base = static_cast<char*>(ShmemInitStruct("pgqueue places", PlacesShmemSize(), &found));
    lines = reinterpret_cast<Line*>(TYPEALIGN(sizeof(Line), reinterpret_cast<uintptr_t>(base)));
    if (found) return;
    for (Size i = 0; i < LineCount(); i++) {
        for (Hint& hint : lines[i].hint) {
            pg_atomic_init_u64(&hint.word, 0);
            pg_atomic_init_u64(&hint.buffer, 0);
        }
    }
}

}  // namespace pgqueue::page
