// Session's template: one statement, as Session and its operations run it.
#pragma once

#include "session.hpp"

namespace torture {

// What kills, crashes, cancels and colliding transactions cause. Anything else is a fault of the server (or of ours).
bool Expected(const std::string& state);

template <class F>
bool Session::Run(Op op, F&& body) {
    using support::Now;
    support::Conn& conn = Db();
    Tally::Row& row = tally_.Of(op);
    ++row.calls;
    req_ = Now();
    const bool alone = root_ == kNoTx;
    tx_ = alone ? NewTx(kNoTx, req_) : scope_;
    const std::size_t sends = journal_.sends.size();
    const std::size_t acts = journal_.acts.size();
    const KvJournal::Mark keys = journal_.kv.Here();
    // Records of a statement that didn't answer stand as they were written before it, only with their time.
    const auto unanswered = [&] {
        resp_ = Now();
        for (std::size_t i = sends; i < journal_.sends.size(); ++i) journal_.sends[i].resp = resp_;
        for (std::size_t i = acts; i < journal_.acts.size(); ++i) journal_.acts[i].resp = resp_;
        journal_.kv.Unanswered(keys, resp_);
    };
    try {
        body(conn);
        if (alone) {
            Tx& tx = journal_.txs[tx_];
            tx.outcome = Outcome::kCommitted;
            tx.end_req = req_;
            tx.end_resp = resp_;
        }
        return true;
    } catch (const support::SqlError& error) {
        // The server has rolled back the statement's transaction, or its innermost savepoint, at once.
        unanswered();
        ++row.failed;
        ++tally_.errors[error.State()];
        if (!Expected(error.State()) || error.State() == "57014")
            if (const std::string text = Explain(Name(op), error); !text.empty()) Trouble(text);
        Tx& tx = journal_.txs[tx_];
        tx.outcome = Outcome::kRolledBack;
        tx.end_req = req_;
        tx.end_resp = resp_;
        failed_ = !alone;
        return false;
    } catch (const support::ConnectionLost&) {
        unanswered();
        ++row.unanswered;
        if (alone) {
            Tx& tx = journal_.txs[tx_];
            tx.outcome = Outcome::kUnknown;
            tx.lost = true;
            tx.end_req = req_;
        } else {
            EndRoot(Outcome::kRolledBack, kNever, kNever);
        }
        Lose(Ending::kLost);
        throw;
    }
}

}  // namespace torture
