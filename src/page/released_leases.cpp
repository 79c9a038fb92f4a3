#include "pgqueue/page/released_leases.hpp"

#include "pgqueue/settings.hpp"

namespace pgqueue::page {
namespace {

constexpr int kPartitions = 64;
constexpr int kProbes = 16;  // places in which a note may lie

struct Note {
    LeaseKey lease;  // vt 0: free
    TimestampTz free_at;
};

struct Partition {
    LWLock lock;  // guards the partition's notes
};

Partition* partitions;
pg_atomic_uint64* forgotten;  // notes that had to give way, since the server's start
Note* notes;

static_assert(std::is_trivially_destructible_v<Note> && std::is_standard_layout_v<Note>);

TimestampTz EndOf(const Note& note) { return std::max(note.lease.vt, note.free_at); }

int NotesPerPartition() { return std::max(kProbes, settings::released_leases / kPartitions); }

bool Same(const LeaseKey& a, const LeaseKey& b) {
    return a.receipt == b.receipt && a.vt == b.vt && a.segment == b.segment && a.part == b.part &&
           ItemPointerGetBlockNumberNoCheck(&a.tid) == ItemPointerGetBlockNumberNoCheck(&b.tid) &&
           ItemPointerGetOffsetNumberNoCheck(&a.tid) == ItemPointerGetOffsetNumberNoCheck(&b.tid);
}

// Receipts are unique in a database, so they alone spread the notes.
uint64 HashOf(const LeaseKey& lease) {
    uint64 hash = static_cast<uint64>(lease.receipt) * 0x9e3779b97f4a7c15u;
    hash ^= lease.segment.database;
    return hash ^ (hash >> 29);
}

struct Place {
    Partition* partition;
    Note* first;
    int start;
};

Place PlaceOf(const LeaseKey& lease) {
    const uint64 hash = HashOf(lease);
    const auto partition = static_cast<int>(hash % kPartitions);
    return {&partitions[partition], &notes[partition * NotesPerPartition()],
            static_cast<int>((hash / kPartitions) % NotesPerPartition())};
}

Note* FindNote(const Place& place, const LeaseKey& lease) {  // partition lock held
    for (int i = 0; i < kProbes; i++) {
        Note* note = &place.first[(place.start + i) % NotesPerPartition()];
        if (Same(note->lease, lease)) return note;
    }
    return nullptr;
}

}  // namespace

Size ReleasedShmemSize() {
    const Size notes_size = mul_size(mul_size(kPartitions, NotesPerPartition()), sizeof(Note));
    return add_size(add_size(MAXALIGN(kPartitions * sizeof(Partition)), MAXALIGN(sizeof(pg_atomic_uint64))),
                    notes_size);
}

void ReleasedShmemInit() {
    bool found = false;
    char* base = static_cast<char*>(ShmemInitStruct("pgqueue released leases", ReleasedShmemSize(), &found));
    partitions = reinterpret_cast<Partition*>(base);
    base += MAXALIGN(kPartitions * sizeof(Partition));
    forgotten = reinterpret_cast<pg_atomic_uint64*>(base);
    notes = reinterpret_cast<Note*>(base + MAXALIGN(sizeof(pg_atomic_uint64)));
    if (found) return;
    const int tranche = LWLockNewTrancheId();
    LWLockRegisterTranche(tranche, "pgqueue_released_leases");
    pg_atomic_init_u64(forgotten, 0);
    for (int i = 0; i < kPartitions; i++) LWLockInitialize(&partitions[i].lock, tranche);
    for (int i = 0; i < kPartitions * NotesPerPartition(); i++) notes[i] = Note{};
}

void NoteReleased(const LeaseKey& lease, TimestampTz free_at) {
    const Place place = PlaceOf(lease);
    const TimestampTz now = GetCurrentTimestamp();
    LWLockAcquire(&place.partition->lock, LW_EXCLUSIVE);
    // Where all places are taken the note with the latest end gives way: it would be in the way for longest, and its
    // message may be gone for good.
    Note* chosen = nullptr;
    bool gives_way = true;
    for (int i = 0; i < kProbes; i++) {
        Note* note = &place.first[(place.start + i) % NotesPerPartition()];
        if (EndOf(*note) <= now || Same(note->lease, lease)) {
            chosen = note;
            gives_way = false;
            break;
        }
        if (chosen == nullptr || EndOf(*note) > EndOf(*chosen)) chosen = note;
    }
    *chosen = {lease, free_at};
    LWLockRelease(&place.partition->lock);
    if (gives_way) pg_atomic_fetch_add_u64(forgotten, 1);
}

uint64 ForgottenReleases() { return pg_atomic_read_u64(forgotten); }

std::optional<TimestampTz> FindReleased(const LeaseKey& lease) {
    const Place place = PlaceOf(lease);
    LWLockAcquire(&place.partition->lock, LW_SHARED);
    const Note* note = FindNote(place, lease);
    const auto free_at = note != nullptr ? std::optional(note->free_at) : std::nullopt;
    LWLockRelease(&place.partition->lock);
    return free_at;
}

void ForgetReleased(const LeaseKey& lease) {
    const Place place = PlaceOf(lease);
    LWLockAcquire(&place.partition->lock, LW_EXCLUSIVE);
    if (Note* note = FindNote(place, lease)) *note = Note{};
    LWLockRelease(&place.partition->lock);
}

}  // namespace pgqueue::page
