// A queue as a backend knows it: its tables, settings and privileges, cached by name and thrown away by the relation
// cache's invalidation messages. Whatever changes a queue's settings sends one for its parent table.
#pragma once

#include "pgqueue/page/page_map.hpp"
#include "pgqueue/pg/name_cache.hpp"

namespace pgqueue::queue {

inline constexpr int kMaxNameBytes = 48;
inline constexpr const char* kSchema = "queue";

struct Queue {
    char name[NAMEDATALEN];  // hash key
    bool valid;
    Oid parent;
    Oid owner;  // of all its tables
    Oid segment;
    Oid primary_key;  // of the segment, on msg_id
    Oid sequence;     // of the ids
    compat::FileNumber sequence_file;
    Oid archive;
    bool plain_indexes;  // no index besides the primary key, no CHECK constraint: inserts take the short way
    double vt;           // seconds
    double delay;        // seconds
    bool paused;
    uint64 trigger_stamp;  // see page::Attach
    bool prioritized;      // a message had another priority than 0 once
    page::SegmentRef map;
    Oid acl_role;  // whose privileges `acl` are
    AclMode acl;

    bool Uses(Oid relation) const {
        return relation == parent || relation == segment || relation == sequence || relation == archive;
    }
};

// A queue opened for work: its segment is locked and stays so until the transaction ends, or until Close.
struct OpenedQueue {
    Queue* queue;
    Relation segment;
};

// Checks the name's form; raises invalid_name.
void CheckName(const char* name);

// Opens a queue for the current role, which needs all of `privileges` on the queue's table. Raises undefined_table,
// insufficient_privilege, wrong_object_type. The result is valid until the next Open or invalidation; callers keep
// copies of what they need across anything that may process invalidations.
OpenedQueue Open(const char* name, AclMode privileges, LOCKMODE lock);
// Unlocks as well if `lock` is given; otherwise the lock stays until the transaction ends.
void Close(const OpenedQueue& opened, LOCKMODE lock = NoLock);

// The map's handle, attached anew where the old one is stale.
const page::SegmentRef& MapOf(const OpenedQueue& opened);

// Remembers in the queue's settings that there are priorities.
void MarkPrioritized(Queue* queue);

// Names of a queue's relations, all in the schema `queue`.
void ParentName(const char* queue, char* out);
void SegmentName(const char* queue, int number, char* out);
void ArchiveName(const char* queue, char* out);
void SequenceName(const char* queue, char* out);

// The queue's segments, oldest first: plain tables in the schema `queue`, children of the parent, with a segment's
// name. Other children are none of ours: their names and owners can be anything.
pg::Vector<Oid> SegmentsOf(Oid parent, const char* queue);

}  // namespace pgqueue::queue
