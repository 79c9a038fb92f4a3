#include "pgqueue/page/places.hpp"

#include "pgqueue/settings.hpp"

namespace pgqueue::page {
namespace {

// A word: a part of the hash (22 bits), the block (32), the line pointer (10). 0: none, since no line pointer is 0.
constexpr int kOffsetBits = 10;
constexpr int kTagShift = 42;
constexpr int kWays = 8;  // the words of one cache line
constexpr Size kLine = kWays * sizeof(uint64);

pg_atomic_uint64* words;

Size Lines() { return static_cast<Size>(settings::kv_places_kb) * 1024 / kLine; }

pg_atomic_uint64* LineOf(uint64 hash) { return &words[(hash % Lines()) * kWays]; }

}  // namespace

uint64 PlaceHash(compat::FileNumber file, char kind, std::string_view key) {
    const uint64 seed = (uint64{MyDatabaseId} << 32 | file) * 0x9e3779b97f4a7c15u + static_cast<unsigned char>(kind);
    return hash_bytes_extended(reinterpret_cast<const unsigned char*>(key.data()), static_cast<int>(key.size()), seed);
}

std::optional<ItemPointerData> FindPlace(uint64 hash) {
    const uint64 tag = hash >> kTagShift;
    pg_atomic_uint64* line = LineOf(hash);
    for (int i = 0; i < kWays; i++) {
        const uint64 word = pg_atomic_read_u64(&line[i]);
        if (word == 0 || word >> kTagShift != tag) continue;
        ItemPointerData tid;
        ItemPointerSet(&tid, static_cast<BlockNumber>(word >> kOffsetBits),
                       static_cast<OffsetNumber>(word & ((1 << kOffsetBits) - 1)));
        return tid;
    }
    return std::nullopt;
}

void NotePlace(uint64 hash, const ItemPointerData& tid) {
    const uint64 tag = hash >> kTagShift;
    const OffsetNumber off = ItemPointerGetOffsetNumberNoCheck(&tid);
    if (off >= 1 << kOffsetBits) return;
    const uint64 word = tag << kTagShift | uint64{ItemPointerGetBlockNumberNoCheck(&tid)} << kOffsetBits | off;
    pg_atomic_uint64* line = LineOf(hash);
    int place = -1;
    for (int i = 0; i < kWays && place < 0; i++) {
        const uint64 old = pg_atomic_read_u64(&line[i]);
        if (old == word) return;
        if (old >> kTagShift == tag && old != 0) place = i;
    }
    for (int i = 0; i < kWays && place < 0; i++)
        if (pg_atomic_read_u64(&line[i]) == 0) place = i;
    // Any may give way; the place's own bits choose, so that the same pair of keys doesn't fight for ever.
    if (place < 0) place = static_cast<int>((hash >> 20 ^ word >> 3) % kWays);
    pg_atomic_write_u64(&line[place], word);
}

Size PlacesShmemSize() { return add_size(mul_size(Lines(), kLine), kLine); }

void PlacesShmemInit() {
    bool found = false;
    char* base = static_cast<char*>(ShmemInitStruct("pgqueue places", PlacesShmemSize(), &found));
    words = reinterpret_cast<pg_atomic_uint64*>(TYPEALIGN(kLine, reinterpret_cast<uintptr_t>(base)));
    if (found) return;
    for (Size i = 0; i < Lines() * kWays; i++) pg_atomic_init_u64(&words[i], 0);
}

}  // namespace pgqueue::page
