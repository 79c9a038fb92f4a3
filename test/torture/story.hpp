// Journals written by hand for the self-test, times in milliseconds.
#pragma once

#include "checker.hpp"

#include <functional>
#include <optional>
#include <vector>

namespace torture {

constexpr std::int64_t kFirstUid = 100;
constexpr std::uint16_t kFifo = 2;
constexpr std::uint16_t kUnloggedFifo = 3;
constexpr std::uint16_t kGrouped = 4;
constexpr std::uint16_t kTries = 5;
constexpr std::uint16_t kHandledTries = 6;
constexpr std::uint16_t kHandledFifo = 7;
constexpr std::uint16_t kPausing = 8;
constexpr std::uint16_t kFifoTries = 9;

// A journal in the making: queue 0 is logged, queue 1 unlogged; message 1 is number 100 and so on. Of groups: queue 2
// is fifo, queue 3 fifo and unlogged, queue 4 has groups without an order. Queue 5 allows two attempts, and so does
// queue 6, which has a handler; queue 7 is fifo and has one, queue 8 has a backoff of 100 ms and more; queue 9 is
// fifo and allows two attempts.
class Story {
public:
    Story() {
        j.queues = {{.name = "logged"},
                    {.name = "unlogged", .unlogged = true},
                    {.name = "fifo", .fifo = true, .groups = true},
                    {.name = "fifo, unlogged", .unlogged = true, .fifo = true, .groups = true},
                    {.name = "groups", .groups = true},
                    {.name = "tries", .max_attempts = 2},
                    {.name = "handled", .max_attempts = 2, .backoff = 0.1, .handlers = 1},
                    {.name = "handled, fifo", .fifo = true, .groups = true, .handlers = 1},
                    {.name = "pausing", .backoff = 0.1, .backoff_max = 0.3},
                    {.name = "fifo, tries", .fifo = true, .groups = true, .max_attempts = 2}};
        j.first_uid = kFirstUid;
        j.conns.push_back({100});
        history.ids.resize(j.queues.size());
    }

    // --- transactions
    TxId Auto(int req, int resp) { return Add({kNoTx, 0, 0, Outcome::kCommitted, false, T(req), T(req), T(resp)}); }
    TxId Committed(int begin, int req, int resp) {
        return Add({kNoTx, 0, 0, Outcome::kCommitted, false, T(begin), T(req), T(resp)});
    }
    TxId RolledBack(int begin, int req, int resp) {
        return Add({kNoTx, 0, 0, Outcome::kRolledBack, false, T(begin), T(req), T(resp)});
    }
    TxId Savepoint(TxId parent, Outcome outcome, int begin, int req, int resp) {
        return Add({parent, 0, 0, outcome, false, T(begin), T(req), T(resp)});
    }
    // COMMIT sent at `req`, and the connection lost to a kill at `kill`.
    TxId Unknown(int begin, int req, int kill) {
        return Add({kNoTx, Killed(kill), 0, Outcome::kUnknown, true, T(begin), T(req), kNever});
    }
    // Lost to a kill before COMMIT.
    TxId Lost(int begin, int kill) {
        return Add({kNoTx, Killed(kill), 0, Outcome::kRolledBack, true, T(begin), kNever, kNever});
    }
    TxId Prepared(int begin, int req, int resp, Outcome outcome, int end_req, int end_resp, bool existed = true) {
        const auto gid = static_cast<std::uint32_t>(j.txs.size() + 1);
        j.resolutions.push_back({gid, outcome, existed, T(end_req), T(end_resp)});
        return Add({kNoTx, 0, gid, Outcome::kUnknown, false, T(begin), T(req), T(resp)});
    }
    std::uint32_t Killed(int at) {
        const int pid = 1000 + static_cast<int>(j.conns.size());
        j.conns.push_back({pid, Ending::kLost, T(0), T(at + 5)});
        j.kills.push_back({pid, T(at)});
        return static_cast<std::uint32_t>(j.conns.size() - 1);
    }
    void Crash(int req, int end) { j.crashes.push_back({T(req), T(end)}); }

    // --- what was done to message `id`
    void Send(int id, TxId tx, int req, int resp, int due = 0, std::uint16_t queue = 0) {
        j.sends.push_back({Uid(id), id, tx, queue, T(req), T(resp), due == 0 ? 0 : T(due)});
    }
    Take& Read(int id, std::int64_t receipt, int ct, TxId tx, int req, int resp, int until, std::uint16_t queue = 0) {
        j.takes.push_back(
            {Uid(id), id, receipt, ct, tx, queue, TakeKind::kRead, true, true, T(req), T(resp), T(until)});
        return j.takes.back();
    }
    // In a transaction of its own.
    Take& Read(int id, std::int64_t receipt, int ct, int req, int resp, int until, std::uint16_t queue = 0) {
        return Read(id, receipt, ct, Auto(req, resp), req, resp, until, queue);
    }
    Take& Pop(int id, TxId tx, int req, int resp) {
        j.takes.push_back({Uid(id), id, 0, 1, tx, 0, TakeKind::kPop, true, true, T(req), T(resp), kNever});
        return j.takes.back();
    }
    void Peek(int id, int req, int resp) {
        j.takes.push_back(
            {Uid(id), id, 0, 0, Auto(req, resp), 0, TakeKind::kPeek, true, true, T(req), T(resp), kNever});
    }
    Act& Do(ActKind kind, int id, std::int64_t receipt, Answer answer, TxId tx, int req, int resp, int until = 0,
            std::uint16_t queue = 0) {
        j.acts.push_back({id, receipt, 0, tx, queue, kind, answer, T(req), T(resp), until == 0 ? 0 : T(until)});
        return j.acts.back();
    }
    Act& Do(ActKind kind, int id, std::int64_t receipt, Answer answer, int req, int resp, int until = 0) {
        return Do(kind, id, receipt, answer, Auto(req, resp), req, resp, until);
    }
    void Ack(int id, std::int64_t receipt, int req, int resp) {
        Do(ActKind::kDelete, id, receipt, Answer::kYes, req, resp);
    }
    // Sent at 0..1.
    void Sent(int id, std::uint16_t queue = 0) { Send(id, Auto(0, 1), 0, 1, 0, queue); }
    // Read and deleted by the final drain.
    void Drained(int id, std::int64_t receipt = 9999, int ct = 1) {
        Read(id, receipt + id, ct, 100'000, 100'001, 130'000);
        Ack(id, receipt + id, 100'002, 100'003);
    }
    void Archived(int id, bool intact = true) { j.archived.push_back({Uid(id), id, 0, intact}); }
    void Dead(int id, int attempts = 2) { j.dead.push_back({Uid(id), id, kTries, attempts, true}); }
    // Message `to` is what redriving made of `from`.
    void Redrive(int from, int to, TxId tx, int req, int resp, std::uint16_t queue = kTries) {
        j.sends.push_back({Uid(from), to, tx, queue, T(req), T(resp), 0, kNoGroup, 0, true});
    }
    void SendKey(std::uint32_t key, int number, int told, TxId tx, int req, int resp) {
        j.sends.push_back({Uid(number), told, tx, 0, T(req), T(resp), 0, kNoGroup, key});
    }
    // Leased, called and committed, or given up by a handler.
    Take& Handled(int id, std::int64_t receipt, int ct, int leased, int called, std::uint16_t queue = kHandledTries) {
        j.echoes.push_back(++place_);
        return Called(TakeKind::kHandled, id, receipt, ct, leased, called, queue);
    }
    Take& Tried(int id, std::int64_t receipt, int ct, int leased, int called, std::uint16_t queue = kHandledTries) {
        ++place_;
        return Called(TakeKind::kTried, id, receipt, ct, leased, called, queue);
    }
    void BlindRead(int req, int resp, bool removes = false, int qty = 1) {
        j.blinds.push_back({Unknown(req, req, resp), 0, removes, qty, T(req)});
    }

    // --- messages of groups
    void SendTo(GroupNo group, int id, TxId tx, int req, int resp, int due = 0, std::uint16_t queue = kFifo) {
        Send(id, tx, req, resp, due, queue);
        j.sends.back().group = group;
    }
    void SentTo(GroupNo group, int id, int req, int resp, std::uint16_t queue = kFifo) {
        SendTo(group, id, Auto(req, resp), req, resp, 0, queue);
    }
    Take& ReadOf(GroupNo group, int id, std::int64_t receipt, int ct, TxId tx, int req, int resp, int until,
                 std::uint16_t queue = kFifo) {
        Take& take = Read(id, receipt, ct, tx, req, resp, until, queue);
        take.group = group;
        take.grouped = true;
        return take;
    }
    Take& ReadOf(GroupNo group, int id, std::int64_t receipt, int ct, int req, int resp, int until,
                 std::uint16_t queue = kFifo) {
        return ReadOf(group, id, receipt, ct, Auto(req, resp), req, resp, until, queue);
    }
    Act& DoOf(ActKind kind, int id, std::int64_t receipt, int req, int resp, int until = 0,
              std::uint16_t queue = kFifo) {
        return Do(kind, id, receipt, Answer::kYes, Auto(req, resp), req, resp, until, queue);
    }
    void AckOf(int id, std::int64_t receipt, int req, int resp, std::uint16_t queue = kFifo) {
        DoOf(ActKind::kDelete, id, receipt, req, resp, 0, queue);
    }
    // Read and deleted by the final drain, in the order of their ids.
    void DrainedOf(GroupNo group, int id, int ct = 1, std::uint16_t queue = kFifo) {
        const int at = 100'000 + 100 * id;
        ReadOf(group, id, 9999 + id, ct, at, at + 1, at + 30'000, queue);
        AckOf(id, 9999 + id, at + 2, at + 3, queue);
    }

    static std::uint64_t Uid(int id) { return static_cast<std::uint64_t>(kFirstUid + id - 1); }
    static Nanos T(int ms) { return ms * support::kMillisecond; }

    Journal j;
    History history;

private:
    Take& Called(TakeKind kind, int id, std::int64_t receipt, int ct, int leased, int called, std::uint16_t queue) {
        const TxId tx =
            kind == TakeKind::kHandled ? Committed(leased, called, 200'000) : RolledBack(leased, called, 200'000);
        j.takes.push_back({Uid(id), id, receipt, ct, tx, queue, kind, true, true, T(leased), T(called), kNever});
        Take& take = j.takes.back();
        take.place = place_;
        if (j.queues[queue].fifo) {
            take.group = 1;
            take.grouped = true;
        }
        return take;
    }
    TxId Add(const Tx& tx) {
        j.txs.push_back(tx);
        return static_cast<TxId>(j.txs.size() - 1);
    }

    std::int64_t place_ = 0;  // of the last handler's call
};

struct Case {
    const char* name;
    std::optional<Fault> fault;  // none: all is well
    std::function<void(Story&)> tell;
};

std::vector<Case> FaultyCases();
std::vector<Case> SoundCases();
std::vector<Case> CounterAndLockCases();
std::vector<Case> ValueCases();
std::vector<Case> GroupCases();
std::vector<Case> DeadLetterCases();
std::vector<Case> RedriveCases();
std::vector<Case> HandlerCases();
std::vector<Case> DedupCases();

}  // namespace torture
