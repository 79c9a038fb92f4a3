// Finding the row of a key: by the hint of its place, else by the index.
#pragma once

#include "pgqueue/kv/row.hpp"
#include "pgqueue/kv/store.hpp"
#include "pgqueue/page/visibility.hpp"

namespace pgqueue::kv {

// A found row: pinned, its page locked.
struct Located {
    Buffer buffer = InvalidBuffer;
    HeapTupleData tuple{};
    page::RowState state = page::RowState::kDead;
    explicit operator bool() const { return buffer != InvalidBuffer; }
};

// The current row of a value's key, whatever a snapshot says: live, being changed, or being inserted by a transaction
// that is still open; with its page locked exclusively. Nothing: there is none.
Located FindCurrent(const Table& values, const Key& key);
// The same by the hint of its place alone. Nothing: it isn't known.
Located FindByPlace(const Table& values, const Key& key);

// The same for a cell. A row that was deleted by our own transaction counts as there (kGone): only one row of a cell
// may exist that isn't dead for good. lock: BUFFER_LOCK_SHARE or BUFFER_LOCK_EXCLUSIVE. over: set where none is found,
// though rows of the cell that are over are stored still.
Located FindCell(const Table& cells, CellKind kind, const Key& key, int lock, bool* over = nullptr);
// The row of a cell that a snapshot sees, with its page locked for reading: mostly one that was deleted since.
Located FindVisibleCell(const Table& cells, CellKind kind, const Key& key, Snapshot snapshot);

// Whether our own transaction has deleted a value of the key that had not expired: a rollback would bring it back.
bool DeletedByUs(const Table& values, const Key& key);

// The transaction that has deleted the cell's last row, if that row is still stored: some snapshot may see it.
// InvalidTransactionId: no such row.
TransactionId LastDeleter(const Table& cells, CellKind kind, const Key& key);

// Receives rows of a key that a snapshot sees, with their page pinned and perhaps locked, until it accepts one. There
// may be two: an old one that has expired and was purged since, and one of our own.
class RowVisitor {
public:
    virtual bool Visit(Relation rel, HeapTuple tuple) = 0;

protected:
    ~RowVisitor() = default;
};
bool VisitVisible(const Table& values, const Key& key, Snapshot snapshot, RowVisitor* visitor);

// Notes where a key lies, if it isn't known already.
void NoteKeyPlace(const Table& table, char kind, const Key& key, const ItemPointerData& tid);
inline constexpr char kValuePlace = 'v';

// Unlocks and unpins at the end of the scope, on the success path.
class PageGuard {
public:
    explicit PageGuard(Buffer buffer) : buffer_(buffer) {}
    ~PageGuard() {
        if (locked_) LockBuffer(buffer_, BUFFER_LOCK_UNLOCK);
        if (BufferIsValid(buffer_)) ReleaseBuffer(buffer_);
    }
    PageGuard(const PageGuard&) = delete;
    PageGuard& operator=(const PageGuard&) = delete;
    void Unlock() {
        if (locked_) LockBuffer(buffer_, BUFFER_LOCK_UNLOCK);
        locked_ = false;
    }
    // Unpins as well: before something is waited for.
    void Release() {
        Unlock();
        ReleaseBuffer(buffer_);
        buffer_ = InvalidBuffer;
    }

private:
    Buffer buffer_;
    bool locked_ = true;
};

}  // namespace pgqueue::kv
