// Taking a row's deletion back in place, while the transaction that deleted it is still open.
//
// For rows that aren't transactional themselves (cells), and for one's own delete. The transaction goes on as before;
// when it commits, the row stays. A row whose deletion is committed is dead and can't be taken back.
#pragma once

#include "pgqueue/page/inplace.hpp"

namespace pgqueue::page {

// Whether a transaction, our own included, has deleted or replaced the row and may still be open; the row isn't over.
inline bool IsBeingDeleted(HeapTupleHeader row) {
    return (row->t_infomask & HEAP_XMAX_INVALID) == 0 && !HEAP_XMAX_IS_LOCKED_ONLY(row->t_infomask);
}

// The change that takes it back; must outlive the writer's Apply. The id of the other transaction goes as well: VACUUM
// looks at it, whatever the flags say, once it has to freeze the row.
class Undeletion {
public:
    static constexpr int kChanges = 2;

    void Add(HeapTupleHeader row, InPlaceWriter* writer) {
        static_assert(offsetof(HeapTupleHeaderData, t_infomask) ==
                      offsetof(HeapTupleHeaderData, t_infomask2) + sizeof(uint16));
        masks_ = {static_cast<uint16>(row->t_infomask2 & ~HEAP_KEYS_UPDATED),
                  static_cast<uint16>((row->t_infomask & ~HEAP_XMAX_BITS) | HEAP_XMAX_INVALID)};
        writer->Set(&row->t_infomask2, masks_.data(), sizeof(masks_));
        writer->Set(&row->t_choice.t_heap.t_xmax, &nobody_, sizeof(nobody_));
    }

private:
    std::array<uint16, 2> masks_{};
    TransactionId nobody_ = InvalidTransactionId;
};

}  // namespace pgqueue::page
