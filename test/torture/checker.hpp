// Proves a journal right, or says where it can't be. Only what the interface promises is held against the server:
//
// - A message that a committed transaction sent is delivered until somebody's committed ack (delete, archive, pop,
// plain
//   DELETE) removes it, once; one of a rolled-back transaction never is. Where the answer to COMMIT was lost, either
//   is right, but for the whole transaction alike.
// - From the arrival of a read's answer a lease excludes all others, until its vt (by the server's answer, less a
// margin
//   for the clocks), or until somebody asks for a set_vt or nack that matches it, or for the end of the transaction
//   that read it other than by COMMIT. An ack, rolled back or not, gives nobody else the message.
// - A crash may forget leases, nacks and set_vts that were not flushed. Flushed is what was answered before a COMMIT
//   on a logged table was asked for that was itself answered before the blow: those have to be there afterwards.
// - A message that was tried often enough becomes a dead letter, and a dead letter that is redriven a new message: of
// all
//   these lives only the last one ends otherwise. See life_check.hpp.
// - Of what handlers do there is all, once, for a message that ended by their hands, and nothing for any other.
// - Sends with one deduplication key store one message: see key_check.hpp.
// - Groups: see group_check.hpp.
// - Counters, locks and values: see counter_check.hpp, lock_check.hpp, value_check.hpp.
// - Outcomes that the client could not see (a connection cut or killed) excuse exactly what they can explain.
#pragma once

#include "journal.hpp"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace torture {

enum class Fault : std::uint8_t {
    kLost,                 // committed, never acked, and gone
    kCameBack,             // delivered or seen again after a committed ack
    kPhantom,              // from a transaction that was rolled back, or from nobody
    kUncommitted,          // seen by others before its COMMIT was asked for
    kTwoHolders,           // leased to two at once
    kDeliveredWhileAcked,  // leased to somebody while another one's ack was in progress
    kEarly,                // before the end of a delay, nack or set_vt
    kDamaged,              // not the bytes, headers or priority that were sent
    kMixedUp,              // under another id or in another queue than the send was told
    kDuplicated,           // one send, two messages
    kIdRepeated,           //
    kReceiptRepeated,      //
    kReceiptRange,         // not in 1 .. 2^53 - 1
    kReceiptChanged,       // by a heartbeat
    kReadCount,            // read_ct did not grow from one lease to the next
    kReadCountTooHigh,     // more than anybody read it
    kStaleAccepted,        // an ack, nack or set_vt with the receipt of an earlier lease
    kValidRefused,         // one with the receipt of a lease that held
    kAckedTwice,           // two acks of one message, both committed
    kActedOnGone,          // nack, set_vt or ack of a message that had been removed
    kStuck,                // in the table, due, and never handed out
    kArchive,              // a row too many, too few, or from nowhere
    kDeadLetter,           // a dead letter too many, too early, or from nowhere; or tried too often
    kRedriven,             // redriven, though it was no dead letter, or didn't go with that
    kEffects,              // of a handler: twice, by half, or from a call that failed
    kKeyDoubled,           // two messages stored for one deduplication key
    kKeySwallowed,         // a send refused for the sake of one that was rolled back
    kTorn,                 // a transaction half committed
    kWrongTimes,           // the row's own times contradict the call
    kGroupOrder,           // handed out before an earlier one of its group had gone
    kGroupTwice,           // a group out in two places
    kConnection,           // broken by nobody we know of
    kTrouble,              // wrong at first sight
    kCounterLost,          // a counter below what it had answered, or than the increments that must be in it
    kCounterTooHigh,       // above all that was ever asked for
    kSumRepeated,          // two increments were told the same sum, or sums that overlap
    kTwoLockers,           // a lock held by two at once
    kTokenOrder,           // a lock's token that is not above those given before
    kFreeLockRefused,      // to all appearances nobody held it
    kLockOverAccepted,     // a renewal, unlock or assertion of a lock that was over
    kLockHeldRefused,      // or the refusal of one that was held
    kValueLost,            // a key showed a state that a committed change had replaced
    kValuePhantom,         // a value from a transaction that was rolled back, or from nobody
    kValueUncommitted,     // seen by others before its COMMIT was asked for
    kValueDamaged,         // not the bytes that were stored
    kValueTwice,           // one state of a key replaced or taken by two
    kVersionRepeated,      // two values of a key had the same version, or one had two
    kTwoWriters,           // of one key at once
    kKeyTwice,             // two rows of one key, or a value beside a counter
    kIndexBroken,          // amcheck or REINDEX complained
    kNotPurged,            // expired, and still in the table after a purge
    kCount
};

const char* Name(Fault fault);

struct Violation {
    Fault fault;
    std::string text;
};

// What has to be remembered from one journal to the next.
struct History {
    std::vector<std::vector<bool>> ids;                         // by queue: committed ids
    std::vector<std::int64_t> receipts;                         // sorted
    std::map<std::uint32_t, std::int64_t> counters;             // what they came to
    std::map<std::uint32_t, std::int64_t> tokens;               // the highest, by lock
    std::set<std::pair<std::uint32_t, std::int64_t>> versions;  // key, version
};

// How often each rule had something to say: a check that never applied proves nothing.
struct Coverage {
    std::uint64_t sends_committed = 0, sends_rolled_back = 0, sends_unknown = 0;
    std::uint64_t leases = 0;             // deliveries by read
    std::uint64_t exclusive = 0;          // of these with a time in which they were certainly exclusive
    std::uint64_t released = 0;           // given back by a rollback, a kill, a crash
    std::uint64_t kept_over_crash = 0;    // leases that had to survive a crash
    std::uint64_t redelivered = 0;        // second and later deliveries
    std::uint64_t stale_refused = 0;      // acts with an old receipt, refused as they should be
    std::uint64_t acked = 0;              // committed removals
    std::uint64_t acks_rolled_back = 0;   //
    std::uint64_t vanished_unlogged = 0;  // emptied by a crash, as unlogged tables are
    std::uint64_t unknown_txs = 0;        //
    std::uint64_t dead = 0;               // messages that ended as dead letters
    std::uint64_t moved_on = 0;           // dead letters that were redriven
    std::uint64_t backoffs = 0;           // pauses that had to be kept
    std::uint64_t handled = 0;            // messages that a handler ended
    std::uint64_t tried = 0;              // calls that failed
    std::uint64_t calls_ordered = 0;      // calls that had to come after others of their group
    std::uint64_t keys = 0;               // deduplication keys with a message
    std::uint64_t repeats = 0;            // committed sends that were told another one's id
    std::uint64_t keys_freed = 0;         // keys that a rolled-back send had before
    std::uint64_t group_ordered = 0;      // deliveries that had to come after others of their group
    std::uint64_t group_leases = 0;       // leases that had to keep a group to themselves for a time

    std::uint64_t increments = 0;          // answered
    std::uint64_t increments_undone = 0;   // of these in a transaction that was rolled back, and counted all the same
    std::uint64_t increments_unknown = 0;  // their answer was lost
    std::uint64_t counters_exact = 0;      // counters of which nothing was in doubt at the end
    std::uint64_t increments_taken_back = 0;  // by crashes, under synchronous_commit = off
    std::uint64_t locks_granted = 0;          // or renewed, and watched for a second holder
    std::uint64_t locks_refused = 0;          // whose holder was looked for
    std::uint64_t locks_over_crash = 0;       // held before a crash and after it
    std::uint64_t locks_answered = 0;         // renewals, unlocks and assertions that had only one right answer
    std::uint64_t values_committed = 0;       // changes of values, committed
    std::uint64_t values_rolled_back = 0;     //
    std::uint64_t states_seen = 0;            // states of keys that were held against all changes
    std::uint64_t links = 0;                  // changes that told what they replaced
    std::uint64_t tables_audited = 0;         //

    void Add(const Coverage& other);
};

struct Verdict {
    std::vector<Violation> violations;
    Coverage coverage;
};

// Adds to `history`. The journal's sends learn their ids where the deliveries tell them.
Verdict Check(Journal& journal, History& history);

}  // namespace torture
