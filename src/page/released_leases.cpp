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
Note* notes;

static_assert(std::is_trivially_destructible_v<Note> && std::is_standard_layout_v<Note>);

int NotesPerPartition() { return std::max(kProbes, settings::released_leases / kPartitions); }

bool Same(const LeaseKey& a, const LeaseKey& b) {
    return a.receipt == b.receipt && a.vt == b.vt && a.segment == b.segment &&
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
    return add_size(MAXALIGN(kPartitions * sizeof(Partition)),
                    mul_size(mul_size(kPartitions, NotesPerPartition()), sizeof(Note)));
}

void ReleasedShmemInit() {
    bool found = false;
    char* base = static_cast<char*>(ShmemInitStruct("pgqueue released leases", ReleasedShmemSize(), &found));
    partitions = reinterpret_cast<Partition*>(base);
    notes = reinterpret_cast<Note*>(base + MAXALIGN(kPartitions * sizeof(Partition)));
    if (found) return;
    const int tranche = LWLockNewTrancheId();
    LWLockRegisterTranche(tranche, "pgqueue_released_leases");
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
    for (int i = 0; i < kProbes; i++) {
        Note* note = &place.first[(place.start + i) % NotesPerPartition()];
        if (note->lease.vt <= now || Same(note->lease, lease)) {
            chosen = note;
            break;
        }
        if (chosen == nullptr || note->lease.vt > chosen->lease.vt) chosen = note;
    }
    *chosen = {lease, free_at};
    LWLockRelease(&place.partition->lock);
}

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
    if (Note* note = FindNote(place, lease)) note->lease = LeaseKey{};
    LWLockRelease(&place.partition->lock);
}

}  // namespace pgqueue::page
