// Journals written by hand for the self-test, times in milliseconds.
#pragma once

#include "checker.hpp"

#include <functional>
#include <optional>
#include <vector>

namespace torture {

constexpr std::int64_t kFirstUid = 100;

// A journal in the making: queue 0 is logged, queue 1 unlogged; message 1 is number 100 and so on.
class Story {
public:
    Story() {
        j.queues = {{"logged", false}, {"unlogged", true}};
        j.first_uid = kFirstUid;
        j.conns.push_back({100});
        history.ids.resize(2);
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
    void BlindRead(int req, int resp, bool removes = false, int qty = 1) {
        j.blinds.push_back({Unknown(req, req, resp), 0, removes, qty, T(req)});
    }

    static std::uint64_t Uid(int id) { return static_cast<std::uint64_t>(kFirstUid + id - 1); }
    static Nanos T(int ms) { return ms * support::kMillisecond; }

    Journal j;
    History history;

private:
    TxId Add(const Tx& tx) {
        j.txs.push_back(tx);
        return static_cast<TxId>(j.txs.size() - 1);
    }
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

}  // namespace torture
