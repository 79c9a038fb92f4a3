// How a message lies in a queue's table.
#pragma once

#include "pgqueue/pg/memory.hpp"

namespace pgqueue::queue {

// The leading columns: fixed-width, NOT NULL, so they lie at constant offsets behind the tuple's header. The span from
// `vt` to `read_ct` is what a lease changes in place.
struct RowHead {
    int64 msg_id;
    TimestampTz enqueued_at;
    TimestampTz vt;            // deliverable from then on, while nobody has it
    TimestampTz last_read_at;  // -infinity: never
    int64 receipt;             // of the newest lease; 0: none yet
    int32 read_ct;
    int32 priority;
};
static_assert(std::is_standard_layout_v<RowHead> && sizeof(RowHead) == 48 && offsetof(RowHead, vt) == 16);

struct LeaseFields {
    TimestampTz vt;
    TimestampTz last_read_at;
    int64 receipt;
    int32 read_ct;
};
inline constexpr uint16 kLeaseBytes = offsetof(RowHead, priority) - offsetof(RowHead, vt);
static_assert(kLeaseBytes == 28 && offsetof(LeaseFields, read_ct) + sizeof(int32) == kLeaseBytes);

// Attribute numbers. A table may have further columns of the user's behind these.
enum Attribute : AttrNumber {
    kMsgId = 1,
    kEnqueuedAt,
    kVt,
    kLastReadAt,
    kReceipt,
    kReadCt,
    kPriority,
    kMessage,
    kHeaders,
    kGroupKey,
    kDedupKey,
    kExpiresAt,   // timestamptz; NULL: never
    kArchivedAt,  // archives only
};
inline constexpr int kQueueColumns = kExpiresAt;
inline constexpr int kArchiveColumns = kArchivedAt;

inline RowHead* HeadOf(HeapTupleHeader tuple) {
    return reinterpret_cast<RowHead*>(reinterpret_cast<char*>(tuple) + tuple->t_hoff);
}

// A message that was sent without a delay is due whatever the clock does.
inline bool IsDue(const RowHead* head, TimestampTz now) {
    return head->vt <= now || (head->receipt == 0 && head->vt == head->enqueued_at);
}

// When the message expires; DT_NOEND: never. Rows end before NULLs at their end, so most need no look.
inline TimestampTz ExpiryOf(HeapTuple tuple, TupleDesc desc) {
    if (likely(HeapTupleHeaderGetNatts(tuple->t_data) <= kDedupKey)) return DT_NOEND;
    bool null = false;
    const Datum value = heap_getattr(tuple, kExpiresAt, desc, &null);
    return null ? DT_NOEND : DatumGetTimestampTz(value);
}

}  // namespace pgqueue::queue
