// What the clients saw of keys: counters, locks, values. Part of the journal, and made like its other records.
#pragma once

#include "../support/clock.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace torture {

using support::Nanos;

using TxId = std::uint32_t;

enum class Answer : std::uint8_t { kYes, kNo, kUnknown };

// kv.incr, which no rollback undoes.
struct Increment {
    std::uint32_t counter;
    std::int64_t delta;
    std::int64_t sum;  // 0: the answer was lost
    bool flushed;      // under synchronous_commit = on
    TxId tx;
    Nanos req, resp;
};

// A counter's value, as kv.get showed it.
struct CounterLook {
    std::uint32_t counter;
    std::int64_t value;
    bool last;  // when everybody had gone
    Nanos req, resp;
};

enum class LockKind : std::uint8_t { kGrant, kRenew, kUnlock, kAssert };

// Nor does a rollback undo what is done to a lock.
struct LockCall {
    std::uint32_t lock;
    LockKind kind;
    std::int64_t token;  // the one that was granted, or is named in the call
    Nanos ttl;           // of a grant or renewal
    Answer answer;
    Nanos req, resp;
};

enum class WriteKind : std::uint8_t { kSet, kIfAbsent, kIfPresent, kCas, kGetSet, kTake, kDelete };

inline bool Removes(WriteKind kind) { return kind == WriteKind::kTake || kind == WriteKind::kDelete; }

// What a key held: the number of a value, or one of these.
constexpr std::uint64_t kAbsent = 0;
constexpr std::uint64_t kGarbled = UINT64_MAX;     // no value of ours, or not byte for byte
constexpr std::uint64_t kUnseen = UINT64_MAX - 1;  // not told

struct KeyWrite {
    std::uint32_t key;
    WriteKind kind;
    std::uint64_t uid;      // of the value that is stored; 0: a removal
    std::int64_t named;     // the version that cas asked for
    std::int64_t version;   // that cas answered; 0: not told
    std::uint64_t old_uid;  // what was there before
    Answer answer;
    TxId tx;
    Nanos req, resp;
};

// kv.get_entry.
struct Reading {
    std::uint32_t key;
    std::uint64_t uid;
    std::int64_t version;
    TxId tx;
    Nanos as_of;  // the snapshot is no older
    Nanos req, resp;
};

// A table of a store when everybody had gone.
struct Audit {
    std::string table;
    std::int64_t rows, keys;  // by a sequential scan; keys: different ones
    std::int64_t doubled;     // live values that stand beside a live counter of the same name
    std::int64_t expired;     // rows that had expired and that kv.purge left
    std::string index_fault;  // what amcheck or REINDEX said
};

struct KvJournal {
    std::vector<Increment> increments;
    std::vector<CounterLook> looks;
    std::vector<LockCall> lock_calls;
    std::vector<KeyWrite> writes;
    std::vector<Reading> readings;
    std::vector<Audit> audits;

    // Takes over another journal's records, whose transactions now begin at `tx_base`.
    void Absorb(KvJournal& other, TxId tx_base);

    // How much was written before a statement; and its time for those of its records that got no answer.
    struct Mark {
        std::size_t increments, lock_calls, writes;
    };
    Mark Here() const { return {increments.size(), lock_calls.size(), writes.size()}; }
    void Unanswered(const Mark& mark, Nanos resp);
};

}  // namespace torture
