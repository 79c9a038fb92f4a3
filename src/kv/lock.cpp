#include "pgqueue/kv/lock.hpp"

#include "pgqueue/kv/key_lock.hpp"
#include "pgqueue/page/inplace.hpp"
#include "pgqueue/page/serials.hpp"

namespace pgqueue::kv {
namespace {

using page::RowState;

constexpr int kVariables = 256;
constexpr int64 kLongestSleep = USECS_PER_SEC;

// For those who wait for a lock; several names may share one.
ConditionVariable* variables;

ConditionVariable* VariableOf(const Table& cells, const Key& name) {
    const uint64 hash = hash_bytes_extended(reinterpret_cast<const unsigned char*>(name.bytes.data()),
                                            static_cast<int>(name.bytes.size()), cells.half->table);
    return &variables[hash % kVariables];
}

int64 NewToken(int64 floor) {
    const auto token = page::NextSerial(page::Serial::kVersions, floor);
    if (!token)
        ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION), errmsg("a lock's token is out of range: " INT64_FORMAT, floor),
                        errhint("No store of this library wrote it. Delete the row.")));
    return *token;
}

// One attempt. Nothing: held, until *held_until.
std::optional<int64> TryAcquire(const Table& cells, const Key& name, double ttl, const char* owner,
                                TimestampTz* held_until) {
    NameData owner_name{};
    strlcpy(NameStr(owner_name), owner != nullptr ? owner : "", NAMEDATALEN);
    const page::DurableChange change;
    (void)MapOf(cells);
    for (int64 floor = 0;;) {
        // Drawn before the page is locked: a token is no loss if it isn't needed.
        const int64 token = NewToken(floor);
        if (Located cell = FindCell(cells, kLock, name, BUFFER_LOCK_EXCLUSIVE)) {
            PageGuard guard(cell.buffer);
            const CellHead* head = CellHeadOf(cell.tuple.t_data);
            const TimestampTz now = GetCurrentTimestamp();
            // A row that a transaction is still inserting (COPY), or that we have deleted ourselves, counts as held.
            if (cell.state == RowState::kPending || head->expires_at > now) {
                *held_until = std::max(head->expires_at, now);
                return std::nullopt;
            }
            if (token <= head->number) {
                floor = head->number;
                continue;
            }
            const XLogRecPtr end = WriteCell(cells, cell, token, ExpiryOf(ttl, now), NameStr(owner_name), true);
            guard.Release();
            change.Settle(end, page::Durability::kFlushed);
            return token;
        }
        KeyLock lock(cells.store, Namespace::kLocks, name);
        if (Located cell = FindCell(cells, kLock, name, BUFFER_LOCK_SHARE)) {
            UnlockReleaseBuffer(cell.buffer);
            continue;
        }
        // A new one: since ours was drawn, the row may have come, with a later token, and been purged again.
        const int64 first = NewToken(floor);
        const XLogRecPtr end =
            CreateCell(cells, name, {kLock, first, ExpiryOf(ttl, GetCurrentTimestamp()), NameStr(owner_name)});
        lock.Release();
        change.Settle(end, page::Durability::kFlushed);
        return first;
    }
}

// The lock's row, if the token holds it; page locked.
Located FindHeld(const Table& cells, const Key& name, int64 token, int lock) {
    Located cell = FindCell(cells, kLock, name, lock);
    if (!cell) return {};
    const CellHead* head = CellHeadOf(cell.tuple.t_data);
    if (cell.state != RowState::kPending && head->number == token && head->expires_at > GetCurrentTimestamp())
        return cell;
    UnlockReleaseBuffer(cell.buffer);
    return {};
}

bool Rewrite(const Table& cells, const Key& name, int64 token, TimestampTz expires_at) {
    page::RequireInPlaceAllowed();
    (void)MapOf(cells);
    const page::DurableChange change;
    Located cell = FindHeld(cells, name, token, BUFFER_LOCK_EXCLUSIVE);
    if (!cell) return false;
    const XLogRecPtr end = WriteCell(cells, cell, token, expires_at, nullptr, true);
    UnlockReleaseBuffer(cell.buffer);
    change.Settle(end, page::Durability::kFlushed);
    return true;
}

}  // namespace

std::optional<int64> Acquire(std::string_view store, const Key& name, double ttl, const char* owner, double wait) {
    page::RequireInPlaceAllowed();
    const TimestampTz deadline = GetCurrentTimestamp() + static_cast<int64>(wait * USECS_PER_SEC);
    bool sleeps = false;
    for (;;) {
        const Table cells = Open(store, ACL_UPDATE, Part::kCells, RowExclusiveLock);
        ConditionVariable* variable = VariableOf(cells, name);
        if (sleeps) ConditionVariablePrepareToSleep(variable);  // before the look, so that no wake-up is missed
        TimestampTz held_until = 0;
        const auto token = TryAcquire(cells, name, ttl, owner, &held_until);
        const TimestampTz now = GetCurrentTimestamp();
        if (token || now >= deadline) {
            if (sleeps) ConditionVariableCancelSleep();
            Close(cells);
            return token;
        }
        const Oid table = cells.half->table;
        Close(cells);
        UnlockRelationOid(table, RowExclusiveLock);
        if (sleeps) {
            const int64 until = std::min({held_until, deadline, now + kLongestSleep});
            static const uint32 event = compat::WaitEvent("PgqueueLock");
            (void)ConditionVariableTimedSleep(variable, static_cast<long>((until - now) / 1000 + 1), event);
        }
        sleeps = true;
        CHECK_FOR_INTERRUPTS();
    }
}

bool Renew(const Table& cells, const Key& name, int64 token, double ttl) {
    return Rewrite(cells, name, token, ExpiryOf(ttl, GetCurrentTimestamp()));
}

bool GiveBack(const Table& cells, const Key& name, int64 token) {
    if (!Rewrite(cells, name, token, DT_NOBEGIN)) return false;
    ConditionVariableBroadcast(VariableOf(cells, name));
    return true;
}

bool Holds(const Table& cells, const Key& name, int64 token) {
    Located cell = FindHeld(cells, name, token, BUFFER_LOCK_SHARE);
    if (cell) UnlockReleaseBuffer(cell.buffer);
    return static_cast<bool>(cell);
}

Size LockShmemSize() { return mul_size(kVariables, sizeof(ConditionVariable)); }

void LockShmemInit() {
    bool found = false;
    variables = static_cast<ConditionVariable*>(ShmemInitStruct("pgqueue locks", LockShmemSize(), &found));
    if (found) return;
    for (int i = 0; i < kVariables; i++) ConditionVariableInit(&variables[i]);
}

}  // namespace pgqueue::kv
