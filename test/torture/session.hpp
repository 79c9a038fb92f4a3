// A client that writes down what it does: each operation of the queue, with the times of request and answer, goes into
// this session's journal, whatever becomes of it. One thread owns a session.
#pragma once

#include "journal.hpp"
#include "tally.hpp"
#include "../support/pg.hpp"
#include "../support/rng.hpp"

#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace torture {

// The queues' own visibility timeout, in seconds.
constexpr double kQueueVt = 2;

// Nobody reads it but the end; its messages are redriven.
constexpr const char* kDeadQueue = "torture.dead";

// So many deduplication keys are in use at a time, each for some sends.
constexpr std::uint32_t kKeysInUse = 4;

// A message in hand.
struct Lease {
    std::uint16_t queue;
    std::int64_t msg_id;
    std::int64_t receipt;
    std::int32_t read_ct = 0;
};

// How the server's clock and ours compare; measured over a connection.
struct ClockMap {
    std::int64_t server_minus_ours = 0;  // ns
    Nanos error = 0;

    static ClockMap Measure(support::Conn& conn);
    Nanos Ours(std::int64_t server_us) const { return server_us * 1000 - server_minus_ours; }
};

// What the workers do just before a crash. Where everybody commits all the time, each flushes what all others have
// done, and nothing that a client was promised is ever in danger.
enum class Calm : std::uint8_t {
    kNone,       // anything
    kFlushed,    // only counters of synchronous_commit = on
    kUnflushed,  // only those of off
    kLocks,
};

// What all sessions of a round share.
struct Shared {
    std::string conninfo;
    std::vector<Queue> queues;
    ClockMap clock;
    bool prepares = false;  // PREPARE TRANSACTION is possible
    std::atomic<bool> stop = false;
    std::atomic<Calm> calm = Calm::kNone;
    std::atomic<bool> workers_gone = false;  // until then somebody may wait for a prepared transaction
    std::atomic<std::uint64_t> next_uid = 1;
    std::atomic<std::uint32_t> next_gid = 1;
    std::atomic<std::uint64_t> next_value = 1;
    std::atomic<std::uint32_t> next_key = kKeysInUse;
    std::atomic<std::int64_t> backlog = 0;  // roughly: sent less removed
    std::vector<std::atomic<int>> pids;     // of the workers' backends

    std::mutex mutex;
    std::vector<Lease> pool;          // leases to be acked by somebody else
    std::vector<std::uint32_t> gids;  // prepared and not resolved
    struct Doubt {
        std::uint32_t gid;
        Nanos since;
    };
    std::vector<Doubt> doubts;  // PREPAREs whose answer was lost

    explicit Shared(std::size_t workers) : pids(workers) {}
};

struct SendOptions {
    double delay = 0;         // seconds; 0: none
    bool deliver_at = false;  // say the delay as an instant
    std::int64_t priority = 0;
    GroupNo group = kNoGroup;
    bool mixed = false;  // a batch: each message has a group of its own choice
    bool keyed = false;  // a deduplication key; in a batch half of the messages have one
};

struct ReadOptions {
    std::optional<double> vt = {};  // none: the queue's own
    std::int64_t qty = 1;
    double wait = 0;
    int filter = -1;                   // kind of message; -1: any
    std::optional<bool> grouped = {};  // none: as the queue is set
};

class Session {
public:
    // `number`: the place in shared.pids; -1: nobody kills this one.
    Session(Shared& shared, int number);

    // --- transactions. Statements outside of one commit by themselves.
    void Begin(const char* isolation);
    bool Commit();
    void Rollback();
    void Savepoint();
    void RollbackToSavepoint();
    void ReleaseSavepoint();
    void Prepare();
    void Cut(bool commit_first);  // breaks the connection, perhaps right behind a COMMIT
    bool InTransaction() const { return root_ != kNoTx; }
    bool InSavepoint() const { return root_ != scope_; }
    bool Failed() const { return failed_; }

    // --- the queue. A failed statement (deadlock, cancel) is noted and answers nothing; a broken connection throws.
    std::int64_t Send(std::uint16_t queue, const SendOptions& options);
    std::vector<std::int64_t> SendBatch(std::uint16_t queue, int count, const SendOptions& options);
    std::vector<Lease> Read(std::uint16_t queue, const ReadOptions& options);
    int Pop(std::uint16_t queue, std::int64_t qty);
    int ReadAndDelete(std::uint16_t queue, std::int64_t qty);
    int Peek(std::uint16_t queue, std::int64_t qty);
    void Wait(std::uint16_t queue, double seconds);
    // delete, archive or nack (with that delay; negative: the default), one by one or as a batch of one queue.
    void Do(ActKind kind, const std::vector<Lease>& leases, bool fenced, bool batch, double delay = -1);
    void SetVt(const std::vector<Lease>& leases, double vt, bool fenced, bool batch);
    void SqlDelete(std::uint16_t queue, std::int64_t msg_id);
    void Redrive(std::int64_t qty);  // as the first statement of a transaction
    void Fail();

    // --- keys
    void Incr(std::uint32_t counter, std::int64_t delta);
    std::int64_t Look(std::uint32_t counter, bool last);             // 0: no such counter
    std::int64_t Lock(std::uint32_t lock, double ttl, double wait);  // the token; 0: none
    bool Renew(std::uint32_t lock, std::int64_t token, double ttl);
    void Unlock(std::uint32_t lock, std::int64_t token);
    void AssertLock(std::uint32_t lock, std::int64_t token);
    // `version`: for kCas only. Answers the version that cas did, or 0.
    std::int64_t Change(std::uint32_t key, WriteKind kind, std::int64_t version = 0);
    std::int64_t Get(std::uint32_t key);                                              // the version; 0: absent
    void Passing(const std::string& sql, const std::vector<support::Param>& params);  // not written down

    void Close();  // the connection; what is open is rolled back
    Journal& TakeJournal() { return journal_; }
    Tally& Counts() { return tally_; }

private:
    template <class F>
    bool Run(Op op, F&& body);
    void Connect();
    void Lose(Ending ending);
    void EndRoot(Outcome outcome, Nanos req, Nanos resp);
    void EndBlock(Nanos req);  // rolls back what may be left of the block: a cancel may hit COMMIT before it begins
    TxId NewTx(TxId parent, Nanos begin);
    support::Conn& Db();
    Nanos EndStart() const;
    Answer LockAnswer(Op op, const std::string& sql, LockCall call);
    void WriteRows(const support::Result& rows, WriteKind kind);
    std::vector<Lease> TakeRows(const support::Result& rows, std::uint16_t queue, TakeKind kind, double asked,
                                const ReadOptions& options);
    void Blindly(std::uint16_t queue, bool removes, std::int64_t qty);
    void WriteSend(std::uint16_t queue, std::uint64_t uid, const SendOptions& options, GroupNo group, std::uint32_t key,
                   Nanos instant);
    std::uint32_t AnyKey(std::uint64_t dice);
    void WriteAct(ActKind kind, const Lease& lease, bool fenced);
    void DoOne(ActKind kind, const Lease& lease, bool fenced, double delay);
    void DoBatch(ActKind kind, const std::vector<Lease>& leases, bool fenced);
    void SetVtRows(const support::Result& rows, std::size_t first, double vt);
    std::string Explain(const std::string& statement, const support::SqlError& error) const;
    void Trouble(std::string text) { journal_.troubles.push_back(std::move(text)); }

    Shared& shared_;
    int number_;
    std::optional<support::Conn> conn_;
    Journal journal_;
    Tally tally_;
    TxId root_ = kNoTx;   // the transaction, and
    TxId scope_ = kNoTx;  // its innermost savepoint
    TxId tx_ = kNoTx;     // of the statement in progress
    Nanos req_ = 0, resp_ = 0;
    bool failed_ = false;
    bool one_snapshot_ = false;  // the transaction has one for all of its statements
};

}  // namespace torture
