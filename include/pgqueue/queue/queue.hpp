// A queue as a backend knows it: its tables, settings and privileges, cached by name and thrown away by the relation
// cache's invalidation messages. Whatever changes a queue's settings sends one for its parent table.
#pragma once

#include "pgqueue/page/page_map.hpp"
#include "pgqueue/pg/name_cache.hpp"

namespace pgqueue::queue {

inline constexpr int kMaxNameBytes = 48;
inline constexpr int kMaxKeyBytes = 1024;  // of a group or deduplication key
inline constexpr const char* kSchema = "queue";

// One of the tables that hold a queue's messages.
struct Segment {
    Oid table;
    uint32 number;            // by its name; messages are sent to the one with the highest
    Oid primary_key;          // on msg_id
    bool plain_indexes;       // no index besides the primary key, no CHECK constraint: inserts take the short way
    uint64 trigger_stamp;     // see page::AttachPart
    compat::FileNumber file;  // that the maps were attached with
    page::SegmentRef map;
    page::SegmentRef expiry_map;
};
// How many there may be at one time, and how many the worker makes.
inline constexpr int kMostSegments = page::kMostParts;
inline constexpr int kMostNewSegments = 12;

struct Queue {
    char name[NAMEDATALEN];  // hash key
    bool valid;
    Oid parent;
    Oid owner;     // of all its tables
    Oid sequence;  // of the ids
    compat::FileNumber sequence_file;
    Oid archive;
    Oid archive_part;  // where it has parts, the newest; see queue/archive_parts.hpp. InvalidOid: to be looked up
    double vt;         // seconds
    double delay;      // seconds
    bool paused;
    bool fifo;
    int32 max_attempts;             // 0: any number
    double backoff;                 // seconds
    double backoff_max;             // seconds
    double message_ttl;             // seconds; kForever
    double archive_retention;       // seconds; kForever
    double notify_throttle;         // seconds; negative: off
    TimestampTz created_at;         // of the queue; not of its tables
    char dead_letter[NAMEDATALEN];  // the name of a queue; empty: none
    bool prioritized;               // a message had another priority than 0 once
    bool expiring;                  // a message had a ttl once
    Oid acl_role;                   // whose privileges `acl` are
    AclMode acl;
    LocalTransactionId alone_in;  // the transaction that last opened it while it had one segment
    int segment_count;
    Segment segments[kMostSegments];  // oldest first

    const Segment& Newest() const { return segments[segment_count - 1]; }
    bool Uses(Oid relation) const {
        for (int i = 0; i < segment_count; i++)
            if (segments[i].table == relation) return true;
        return relation == parent || relation == sequence || relation == archive;
    }
};

// A queue opened for work, with one of its segments, which is locked and stays so until the transaction ends, or until
// Close.
struct OpenedQueue {
    Queue* queue;
    Relation segment;
    uint32 number;
    Oid parent;  // whose lock came with it, if it did
};

// Checks the name's form; raises invalid_name.
void CheckName(const char* name);

// Opens a queue, with the newest of its segments, for the current role, which needs all of `privileges` on the queue's
// table. Raises undefined_table, insufficient_privilege, wrong_object_type. The result is valid until the next Open or
// invalidation; callers keep copies of what they need across anything that may process invalidations.
OpenedQueue Open(const char* name, AclMode privileges, LOCKMODE lock);
// The same; nothing where there is no such queue, also if it was dropped while we waited for it.
std::optional<OpenedQueue> OpenIfThere(const char* name, AclMode privileges, LOCKMODE lock);
// Unlocks as well if `lock` is given; otherwise the lock stays until the transaction ends.
void Close(const OpenedQueue& opened, LOCKMODE lock = NoLock);

// Another segment of an opened queue. Nothing: the queue has changed while we waited for the lock.
std::optional<OpenedQueue> TryOpenSegment(Queue* queue, uint32 number, LOCKMODE lock);
// What is known of an opened queue is made true again, after invalidations. Its segments may be others.
void Refresh(Queue* queue);
bool IsValid(const Queue* queue);                   // nothing has changed, as far as we have heard
Segment* FindSegment(Queue* queue, uint32 number);  // null: there is none
Segment& SegmentOf(const OpenedQueue& opened);

// Calls use(opened) for one segment after the other, oldest first, and for newer ones that come meanwhile, until it
// says true; answers whether it did. `lock` is taken on each and, where it said false, given back.
template <class Use>
bool ForSegments(const OpenedQueue& opened, LOCKMODE lock, Use use);
// The same, in search of a message: first where this backend saw it last. A message that is moved meanwhile, from an
// older segment to the newest, is not missed.
template <class Use>
bool FindInSegments(const OpenedQueue& opened, int64 msg_id, LOCKMODE lock, Use use);

// The map's handle for the segment, attached anew where the old one is stale.
const page::SegmentRef& MapOf(const OpenedQueue& opened);
// The same for the table of a queue, by its name; nothing: it is none.
std::optional<page::SegmentRef> MapOfTable(Relation segment, page::MapKind kind = page::MapKind::kDeliverable);
page::SegmentKey MapKey(Oid parent, page::MapKind kind = page::MapKind::kDeliverable);

// The map of expiries of the segment: see queue/expire.hpp.
const page::SegmentRef& ExpiryMapOf(const OpenedQueue& opened);

// Remembers where archived messages go, until the table changes.
void NoteArchivePart(Queue* queue, Oid table);

// Whether there is such a queue: for what is named by a setting or a header.
bool QueueExists(const char* name);

// Counts in the queue's settings, in place, at once and not undone by rollback: messages that became dead letters, or
// that expired. A change of the settings at the same moment may lose some.
void AddTotals(const char* queue, int64 dead, int64 expired);

// Remember in the queue's settings that there are priorities, or messages with a ttl.
void MarkPrioritized(Queue* queue);
void MarkExpiring(Queue* queue);
void MarkExpiring(const char* queue);

// When the queue was created, as it is stored in its settings; nothing: there is none.
std::optional<TimestampTz> CreatedAt(const char* queue);

// Names of a queue's relations, all in the schema `queue`.
void ParentName(const char* queue, char* out);
void SegmentName(const char* queue, int number, char* out);
void ArchiveName(const char* queue, char* out);
void ArchivePartName(const char* queue, int number, char* out);
void SequenceName(const char* queue, char* out);

// The queue's segments, oldest first: plain tables in the schema `queue`, children of the parent, with a segment's
// name. Other children are none of ours: their names and owners can be anything.
struct SegmentTable {
    Oid table;
    uint32 number;
};
pg::Vector<SegmentTable> NumberedSegmentsOf(Oid parent, const char* queue);
pg::Vector<Oid> SegmentsOf(Oid parent, const char* queue);
// The same of the archive's parts: see queue/archive_parts.hpp.
pg::Vector<SegmentTable> ArchivePartsOf(Oid archive, const char* queue);
// The parent, then its segments: the order in which they are locked.
pg::Vector<Oid> TablesOf(Oid parent, const char* queue);
// Whether it is a segment's name; if so, its queue's and its number.
bool ParseSegmentName(const char* table, char* queue, uint32* number);
// Locks the tables with their indexes and TOAST tables, all that opening and measuring a queue may have to wait for,
// without waiting: AccessShareLock. False: somebody has one of them for himself, and nothing is locked.
bool LockAtOnce(const pg::Vector<Oid>& tables, pg::Vector<Oid>* locked);
void UnlockAll(const pg::Vector<Oid>& locked);

// Where this backend last saw a message; only a guess, checked by whoever uses it.
void RememberPlace(Oid segment, int64 msg_id, const ItemPointerData& tid);
std::optional<ItemPointerData> RememberedPlace(Oid segment, int64 msg_id);

namespace detail {

template <class Use>
bool UseSegment(const OpenedQueue& opened, uint32 number, LOCKMODE lock, bool* changed, Use use) {
    if (number == opened.number) return use(opened);
    const auto other = TryOpenSegment(opened.queue, number, lock);
    *changed = !other;
    if (!other) return false;
    const bool found = use(*other);
    Close(*other, found ? NoLock : lock);
    return found;
}

}  // namespace detail

template <class Use>
bool ForSegments(const OpenedQueue& opened, LOCKMODE lock, Use use) {
    for (uint32 after = 0;;) {
        const Segment* next = opened.queue->segments;
        const Segment* end = next + opened.queue->segment_count;
        while (next != end && next->number <= after) next++;
        if (next == end) {
            AcceptInvalidationMessages();
            if (IsValid(opened.queue)) return false;
            Refresh(opened.queue);
            if (opened.queue->Newest().number <= after) return false;
            continue;
        }
        const uint32 number = next->number;
        bool changed = false;
        if (detail::UseSegment(opened, number, lock, &changed, use)) return true;
        if (changed)
            Refresh(opened.queue);
        else
            after = number;
    }
}

template <class Use>
bool FindInSegments(const OpenedQueue& opened, int64 msg_id, LOCKMODE lock, Use use) {
    const Queue* queue = opened.queue;
    if (queue->segment_count == 1 && queue->segments[0].number == opened.number) return use(opened);
    for (int i = 0; i < queue->segment_count; i++) {
        if (!RememberedPlace(queue->segments[i].table, msg_id)) continue;
        bool changed = false;
        if (detail::UseSegment(opened, queue->segments[i].number, lock, &changed, use)) return true;
        if (changed) Refresh(opened.queue);
        break;
    }
    return ForSegments(opened, lock, use);
}

}  // namespace pgqueue::queue
