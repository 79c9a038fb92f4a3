#include "fates.hpp"

#include <algorithm>
#include <unordered_map>

namespace torture {

Nanos Fates::LossOf(std::size_t index) const {
    const Connection& conn = journal_.conns[index];
    Nanos at = conn.ending == Ending::kCut ? conn.ended : kNever;
    for (const Kill& kill : journal_.kills)
        if (kill.pid == conn.pid && kill.req >= conn.opened && kill.req <= conn.ended) at = std::min(at, kill.req);
    for (const Crash& crash : journal_.crashes)
        if (crash.end >= conn.opened && crash.req <= conn.ended) at = std::min(at, crash.req);
    return at;
}

Fates::Fates(const Journal& journal, std::vector<Violation>& violations)
    : journal_(journal), fates_(journal.txs.size()) {
    for (std::size_t i = 0; i < journal.conns.size(); ++i) {
        const Connection& conn = journal.conns[i];
        lost_at_.push_back(conn.ending == Ending::kClosed ? kNever : LossOf(i));
        if (conn.ending != Ending::kClosed && lost_at_.back() == kNever) {
            violations.push_back({Fault::kConnection, "backend " + std::to_string(conn.pid) +
                                                          " went away without a kill or crash of ours"});
            lost_at_.back() = 0;
        }
    }

    std::unordered_map<std::uint32_t, const Resolution*> resolved;
    for (const Resolution& resolution : journal.resolutions) resolved[resolution.gid] = &resolution;

    // A parent's number is smaller than its children's.
    for (TxId id = 0; id < journal.txs.size(); ++id) {
        const Tx& tx = journal.txs[id];
        Fate& fate = fates_[id];
        fate = {id, tx.outcome, tx.end_req, tx.end_resp};
        const Nanos lost = tx.lost ? std::max(tx.begin, lost_at_[tx.conn]) : kNever;

        if (tx.parent != kNoTx) {
            const Fate& parent = fates_[tx.parent];
            const bool own_rollback = tx.outcome == Outcome::kRolledBack;
            fate = parent;
            if (own_rollback) {
                fate.outcome = Outcome::kRolledBack;
                fate.end_req = tx.end_req;
                fate.end_resp = tx.end_resp;
                if (parent.outcome != Outcome::kCommitted) fate.end_req = std::min(fate.end_req, parent.end_req);
            }
            continue;
        }
        if (tx.gid != 0) {
            const auto found = resolved.find(tx.gid);
            if (found == resolved.end()) {
                violations.push_back(
                    {Fault::kTrouble, "prepared transaction " + std::to_string(tx.gid) + " was never resolved"});
                fate.outcome = Outcome::kUnknown;
                fate.end_req = tx.begin;
                fate.end_resp = kNever;
            } else if (found->second->existed) {
                fate.outcome = found->second->outcome;
                fate.end_req = found->second->req;
                fate.end_resp = found->second->resp;
            } else {
                if (!tx.lost)
                    violations.push_back(
                        {Fault::kLost, "prepared transaction " + std::to_string(tx.gid) + " has vanished"});
                fate.outcome = Outcome::kRolledBack;
                fate.end_req = tx.lost ? std::min(lost, tx.end_req) : tx.begin;
                fate.end_resp = kNever;
            }
            continue;
        }
        if (fate.outcome == Outcome::kFollows) fate.outcome = Outcome::kUnknown;
        if (tx.lost) {
            fate.end_req = std::min(fate.end_req, lost);
            fate.end_resp = kNever;
        }
    }
    FindFlushes();
}

void Fates::FindFlushes() {
    flushed_before_.assign(journal_.crashes.size(), 0);
    const auto commit = [this](TxId tx, std::uint16_t queue) {
        const Fate& fate = fates_[tx];
        if (fate.outcome != Outcome::kCommitted || journal_.queues[queue].unlogged) return;
        for (std::size_t i = 0; i < flushed_before_.size(); ++i)
            if (fate.end_resp < journal_.crashes[i].req)
                flushed_before_[i] = std::max(flushed_before_[i], fate.end_req);
    };
    for (const Send& send : journal_.sends) commit(send.tx, send.queue);
    for (const Act& act : journal_.acts)
        if (Removes(act.kind) && act.answer == Answer::kYes) commit(act.tx, act.queue);

    // Changes of values flush at COMMIT. Those of counters (but for synchronous_commit = off) and locks flush by
    // themselves, before they answer.
    const auto flush = [this](Nanos req, Nanos resp) {
        for (std::size_t i = 0; i < flushed_before_.size(); ++i)
            if (resp < journal_.crashes[i].req) flushed_before_[i] = std::max(flushed_before_[i], req);
    };
    for (const KeyWrite& write : journal_.kv.writes) {
        const Fate& fate = fates_[write.tx];
        if (fate.outcome == Outcome::kCommitted && write.answer == Answer::kYes) flush(fate.end_req, fate.end_resp);
    }
    for (const Increment& increment : journal_.kv.increments)
        if (increment.flushed && increment.sum != 0) flush(increment.req, increment.resp);
    for (const LockCall& call : journal_.kv.lock_calls)
        if (call.kind != LockKind::kAssert && call.answer == Answer::kYes) flush(call.req, call.resp);
}

}  // namespace torture
