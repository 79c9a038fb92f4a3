#include <set>

#include "statement.hpp"

namespace torture {

using support::ConnectionLost;
using support::Now;
using support::SqlError;

namespace {

// A statement that takes so long hangs.
constexpr const char* kSettings = "SET synchronous_commit = on; SET statement_timeout = '180s'";

}  // namespace

bool Expected(const std::string& state) {
    static const std::set<std::string> kStates = {
        "40P01",  // deadlock
        "40001",  // serialization failure
        "57014",  // cancelled; by the timeout, too: see Explain
        "57P01", "57P02", "57P03",
        "22012",  // division by zero: our mistake on purpose
        "55P03",  // lock timeout; kv.assert_lock of one that is over, kv.incr where a value is coming into being
        "42804",  // kv.incr of a value
    };
    return kStates.count(state) != 0;
}

ClockMap ClockMap::Measure(support::Conn& conn) {
    ClockMap best;
    best.error = kNever;
    for (int i = 0; i < 50; ++i) {
        const Nanos before = Now();
        const auto rows = conn.Query("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint");
        const Nanos after = Now();
        if ((after - before) / 2 >= best.error) continue;
        best.error = (after - before) / 2 + 1000;
        best.server_minus_ours = rows.Int(0, 0) * 1000 - (before + after) / 2;
    }
    return best;
}

Session::Session(Shared& shared, int number) : shared_(shared), number_(number) {}

void Session::Connect() {
    Connection record{};
    record.opened = Now();
    conn_.emplace(support::Conn::Within(180, shared_.conninfo, "torture"));
    record.pid = conn_->Pid();
    journal_.conns.push_back(record);
    if (number_ >= 0) shared_.pids[static_cast<std::size_t>(number_)] = record.pid;
    for (bool set = false; !set;) {
        try {
            conn_->Exec(kSettings);
            set = true;
        } catch (const ConnectionLost&) {
            Lose(Ending::kLost);
            throw;
        } catch (const SqlError& error) {
            if (!Expected(error.State())) throw;  // a cancel; the settings must stand all the same
        }
    }
}

support::Conn& Session::Db() {
    if (!conn_) Connect();
    return *conn_;
}

void Session::Lose(Ending ending) {
    if (!conn_) return;
    journal_.conns.back().ending = ending;
    journal_.conns.back().ended = Now();
    if (number_ >= 0) shared_.pids[static_cast<std::size_t>(number_)] = 0;
    if (ending == Ending::kCut) conn_->Cut();
    conn_.reset();
    root_ = scope_ = kNoTx;
    failed_ = false;
}

void Session::Close() {
    if (!conn_) return;
    if (root_ != kNoTx) EndRoot(Outcome::kRolledBack, Now(), kNever);
    Lose(Ending::kClosed);
}

TxId Session::NewTx(TxId parent, Nanos begin) {
    Tx tx{};
    tx.parent = parent;
    tx.conn = static_cast<std::uint32_t>(journal_.conns.size() - 1);
    tx.begin = begin;
    journal_.txs.push_back(tx);
    return static_cast<TxId>(journal_.txs.size() - 1);
}

// One statement: the transaction it belongs to, its times, and what an error or a lost connection means for both.
std::string Session::Explain(const std::string& statement, const SqlError& error) const {
    if (error.State() != "57014") return statement + ": " + error.State() + " " + error.what();
    if (std::string(error.what()).find("statement timeout") == std::string::npos) return "";
    return statement + " hung until its timeout of 180 s";
}

// A failed statement has ended the transaction already.
Nanos Session::EndStart() const { return failed_ && !InSavepoint() ? journal_.txs[root_].end_req : Now(); }

// The transaction and its open savepoint end alike. Without a time the connection was lost.
void Session::EndRoot(Outcome outcome, Nanos req, Nanos resp) {
    Tx& tx = journal_.txs[root_];
    tx.outcome = outcome;
    tx.end_req = req;
    tx.end_resp = resp;
    tx.lost = resp == kNever;
    root_ = scope_ = kNoTx;
    failed_ = false;
}

void Session::Begin(const char* isolation) {
    support::Conn& conn = Db();
    const Nanos begin = Now();
    try {
        conn.Exec(std::string("BEGIN ISOLATION LEVEL ") + isolation);
    } catch (const ConnectionLost&) {
        Lose(Ending::kLost);
        throw;
    } catch (const SqlError& error) {
        ++tally_.errors[error.State()];
        return;  // cancelled: go on without
    }
    root_ = scope_ = NewTx(kNoTx, begin);
    one_snapshot_ = std::string(isolation) != "READ COMMITTED";
}

bool Session::Commit() {
    Tally::Row& row = tally_.Of(Op::kCommit);
    ++row.calls;
    const Nanos req = EndStart();
    try {
        const auto result = conn_->Exec("COMMIT");
        const bool committed = result.Command() == "COMMIT";
        EndRoot(committed ? Outcome::kCommitted : Outcome::kRolledBack, req, Now());
        if (!committed) ++row.refused;
        return committed;
    } catch (const SqlError& error) {
        ++row.failed;
        ++tally_.errors[error.State()];
        if (!Expected(error.State())) Trouble(Explain("COMMIT", error));
        EndBlock(req);
        return false;
    } catch (const ConnectionLost&) {
        ++row.unanswered;
        EndRoot(Outcome::kUnknown, req, kNever);
        Lose(Ending::kLost);
        throw;
    }
}

void Session::Rollback() {
    ++tally_.Of(Op::kRollback).calls;
    EndBlock(EndStart());
}

void Session::EndBlock(Nanos req) {
    try {
        if (conn_->InTransaction()) conn_->Exec("ROLLBACK");
        EndRoot(Outcome::kRolledBack, req, Now());
    } catch (const SqlError&) {
        // Only a cancel that came late: the rollback is done all the same, or the next statement says so.
        EndRoot(Outcome::kRolledBack, req, kNever);
        Lose(Ending::kCut);
    } catch (const ConnectionLost&) {
        ++tally_.Of(Op::kRollback).unanswered;
        EndRoot(Outcome::kRolledBack, req, kNever);
        Lose(Ending::kLost);
        throw;
    }
}

void Session::Savepoint() {
    if (InSavepoint()) return;
    if (Run(Op::kSavepoint, [&](support::Conn& conn) {
            conn.Exec("SAVEPOINT s");
            resp_ = Now();
        }))
        scope_ = NewTx(root_, req_);
}

void Session::RollbackToSavepoint() {
    Tx& inner = journal_.txs[scope_];
    const bool failed = failed_;
    const TxId scope = scope_;
    if (!failed) {
        inner.outcome = Outcome::kRolledBack;
        inner.end_req = Now();
    }
    scope_ = root_;
    failed_ = false;
    const bool done = Run(Op::kSavepoint, [&](support::Conn& conn) {
        conn.Exec("ROLLBACK TO SAVEPOINT s; RELEASE SAVEPOINT s");
        resp_ = Now();
    });
    if (done && !failed) journal_.txs[scope].end_resp = resp_;
}

void Session::ReleaseSavepoint() {
    const TxId scope = scope_;
    if (Run(Op::kSavepoint, [&](support::Conn& conn) {
            conn.Exec("RELEASE SAVEPOINT s");
            resp_ = Now();
        })) {
        journal_.txs[scope].outcome = Outcome::kFollows;
        scope_ = root_;
    }
}

void Session::Prepare() {
    Tally::Row& row = tally_.Of(Op::kPrepare);
    ++row.calls;
    const std::uint32_t gid = shared_.next_gid++;
    const TxId root = root_;
    const Nanos req = EndStart();
    journal_.txs[root].gid = gid;
    try {
        const auto result = conn_->Exec("PREPARE TRANSACTION 'torture " + std::to_string(gid) + "'");
        const bool prepared = result.Command() == "PREPARE TRANSACTION";
        EndRoot(prepared ? Outcome::kUnknown : Outcome::kRolledBack, req, Now());
        const std::lock_guard lock(shared_.mutex);
        if (prepared)
            shared_.gids.push_back(gid);
        else
            journal_.txs[root].gid = 0;
    } catch (const SqlError& error) {
        ++row.failed;
        ++tally_.errors[error.State()];
        if (!Expected(error.State()) && error.State() != "0A000" && error.State() != "53200")
            Trouble(Explain("PREPARE TRANSACTION", error));
        journal_.txs[root].gid = 0;
        EndBlock(req);
    } catch (const ConnectionLost&) {
        ++row.unanswered;
        EndRoot(Outcome::kUnknown, req, kNever);
        Lose(Ending::kLost);
        const std::lock_guard lock(shared_.mutex);
        shared_.doubts.push_back({gid, Now()});
        throw;
    }
}

void Session::Cut(bool commit_first) {
    if (root_ == kNoTx) {
        Lose(Ending::kCut);
        return;
    }
    if (commit_first) {
        const Nanos req = Now();
        try {
            conn_->SendOnly("COMMIT");
        } catch (const ConnectionLost&) {
            // It was broken before; whether the COMMIT went out is unknown either way.
        }
        EndRoot(Outcome::kUnknown, req, kNever);
    } else {
        EndRoot(Outcome::kRolledBack, kNever, kNever);
    }
    ++tally_.events[commit_first ? "connections cut behind a COMMIT" : "connections cut within a transaction"];
    Lose(Ending::kCut);
}

}  // namespace torture
