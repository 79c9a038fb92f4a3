// What the clients saw, as they saw it. Every record says when a request left (req) and when its answer had arrived
// (resp), by CLOCK_MONOTONIC; what happened in the server happened in between. Records are plain values, so that the
// self-test can write journals that no server would.
//
// Every operation belongs to a transaction. A statement outside of BEGIN has one of its own; a savepoint's work is a
// transaction with a parent.
#pragma once

#include "group_names.hpp"
#include "kv_journal.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace torture {

constexpr Nanos kNever = INT64_MAX;

constexpr TxId kNoTx = UINT32_MAX;

enum class Outcome : std::uint8_t {
    kFollows,     // a released savepoint: as its parent
    kCommitted,   // and acknowledged
    kRolledBack,  // certainly
    kUnknown,     // the connection broke before the answer to COMMIT
};

struct Tx {
    TxId parent = kNoTx;
    std::uint32_t conn = 0;
    std::uint32_t gid = 0;  // of PREPARE TRANSACTION; 0: none
    Outcome outcome = Outcome::kFollows;
    bool lost = false;  // the connection broke: the server may have rolled it back since then, on its own
    Nanos begin = 0;
    Nanos end_req = kNever;  // COMMIT, ROLLBACK (TO), COMMIT PREPARED, or the statement that failed
    Nanos end_resp = kNever;
};

struct Send {
    std::uint64_t uid;
    std::int64_t msg_id;  // 0: the answer was lost
    TxId tx;
    std::uint16_t queue;
    Nanos req, resp;
    Nanos due;  // not to be delivered before; 0: at once
    GroupNo group = kNoGroup;
    std::uint32_t key = 0;  // of deduplication; 0: none
    bool redriven = false;  // a dead letter that came back: a new message with the number of the old one
    bool repeat = false;    // found out by the checker: told the id of another send with its key, and stored nothing
};

enum class TakeKind : std::uint8_t {
    kRead,
    kPop,
    kPeek,
    kHandled,  // by a handler, whose transaction was committed: the message is gone with it
    kTried,    // by a handler that failed
};

inline bool ByHandler(TakeKind kind) { return kind == TakeKind::kHandled || kind == TakeKind::kTried; }
inline bool IsLease(TakeKind kind) { return kind == TakeKind::kRead || ByHandler(kind); }

// A message in a client's hands, or a handler's: then req and resp are the lease and the call.
struct Take {
    std::uint64_t uid;  // 0: the payload was unreadable
    std::int64_t msg_id;
    std::int64_t receipt;
    std::int32_t read_ct;
    TxId tx;
    std::uint16_t queue;
    TakeKind kind;
    bool intact;    // payload, headers and priority are what was sent
    bool times_ok;  // the lease was taken while we asked, for as long as we asked
    Nanos req, resp;
    Nanos until;  // the lease's end, by the server's answer
    GroupNo group = kNoGroup;
    bool grouped = false;    // the read went by groups
    std::int64_t place = 0;  // of a handler's call, in the order of all calls
};

enum class ActKind : std::uint8_t { kDelete, kArchive, kSqlDelete, kNack, kSetVt };

inline bool Removes(ActKind kind) { return kind != ActKind::kNack && kind != ActKind::kSetVt; }

// One message of an ack, nack or set_vt.
struct Act {
    std::int64_t msg_id;
    std::int64_t receipt;      // named in the call; 0: none
    std::int64_t got_receipt;  // in the row that set_vt answered; 0: none
    TxId tx;
    std::uint16_t queue;
    ActKind kind;
    Answer answer;
    Nanos req, resp;
    Nanos until;  // nack, set_vt: not to be delivered before; 0: no promise
};

// A read or pop whose answer was never seen. It may have taken leases; a committed pop may have removed `qty` messages.
struct Blind {
    TxId tx;
    std::uint16_t queue;
    bool removes;
    std::int64_t qty;
    Nanos req;
};

enum class Ending : std::uint8_t { kClosed, kLost, kCut };

struct Connection {
    int pid;
    Ending ending = Ending::kClosed;
    Nanos opened = 0;  // before the attempt
    Nanos ended = kNever;
};

// Somebody told the server to end a backend.
struct Kill {
    int pid;
    Nanos req;
};

// From before the blow until the server answers again.
struct Crash {
    Nanos req, end;
};

// COMMIT PREPARED or ROLLBACK PREPARED, by whoever got round to it.
struct Resolution {
    std::uint32_t gid;
    Outcome outcome;
    bool existed;  // false: the PREPARE never happened
    Nanos req, resp;
};

struct ArchiveRow {
    std::uint64_t uid;
    std::int64_t msg_id;
    std::uint16_t queue;
    bool intact;
    GroupNo group = kNoGroup;
};

// In the dead-letter queue when everything had been drained, by what its header says of where it came from.
struct DeadRow {
    std::uint64_t uid;
    std::int64_t msg_id;
    std::uint16_t queue;
    std::int64_t attempts;
    bool intact;
};

// Still in the table when everything had been drained.
struct Leftover {
    std::int64_t msg_id;
    std::uint16_t queue;
};

struct Queue {
    std::string name;
    bool unlogged = false;
    bool fifo = false;
    bool groups = false;                     // messages have groups; of a fifo queue in any case
    std::int64_t max_attempts = 0;           // 0: no dead letters
    double backoff = 0, backoff_max = 3600;  // seconds
    int handlers = 0;                        // processes that handle it; 0: it has no handler
    int batch = 1;                           // of the handler
};

// The shortest delay of a message that was given back after so many attempts.
Nanos ShortestBackoff(const Queue& queue, std::int32_t attempt);

struct Journal {
    std::vector<Queue> queues;
    Nanos margin = 0;             // how far our idea of the server's clock may be off
    std::uint64_t first_uid = 1;  // smaller ones belong to earlier rounds

    std::vector<Connection> conns;
    std::vector<Tx> txs;
    std::vector<Send> sends;
    std::vector<Take> takes;
    std::vector<Act> acts;
    std::vector<Blind> blinds;
    std::vector<Kill> kills;
    std::vector<Crash> crashes;
    std::vector<Resolution> resolutions;
    std::vector<ArchiveRow> archived;
    std::vector<DeadRow> dead;
    std::vector<Leftover> leftovers;
    std::vector<std::int64_t> echoes;  // what handlers have sent: the places of their calls
    KvJournal kv;
    std::vector<std::string> troubles;  // wrong at first sight: an internal error, an impossible answer

    // Takes over another journal's records; `other` is empty afterwards.
    void Absorb(Journal& other);
};

}  // namespace torture
