#include "chaos.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

namespace torture {

using support::Conn;
using support::ConnectionLost;
using support::Now;
using support::SqlError;

namespace {

constexpr Nanos kDoubted = 10 * support::kSecond;
constexpr double kPatience = 180;  // seconds until a server that doesn't come back is a failure

}  // namespace

Conn& Chaos::Db() {
    if (!conn_) conn_ = std::make_unique<Conn>(Conn::Within(kPatience, shared_.conninfo, "torture chaos"));
    return *conn_;
}

int Chaos::AnyPid() {
    const auto last = static_cast<std::int64_t>(shared_.pids.size()) - 1;
    return shared_.pids[static_cast<std::size_t>(rng_.Between(0, last))];
}

// Of a process that works on messages for us, or now and then of the worker that starts them; 0: there is none.
int Chaos::HandlerPid() {
    const auto rows = Db().Query("SELECT pid FROM pg_stat_activity WHERE backend_type = $1 ORDER BY random() LIMIT 1",
                                 {rng_.Chance(0.9) ? "pgqueue handler" : "pgqueue worker"});
    return rows.Rows() == 0 ? 0 : static_cast<int>(rows.Int(0, 0));
}

void Chaos::Run() {
    Nanos next_crash = Now() + support::FromSeconds(rng_.Uniform(3, 7));
    while (!shared_.stop) {
        support::Pause(rng_.Between(10, 300) * support::kMillisecond);
        if (server_ != nullptr && Now() > next_crash && !shared_.stop) {
            CrashServer();
            next_crash = Now() + support::FromSeconds(rng_.Uniform(2, 9));
            continue;
        }
        try {
            const bool handler = rng_.Chance(0.3);
            const int pid = handler ? HandlerPid() : AnyPid();
            if (pid == 0) continue;
            if (rng_.Chance(0.6))
                Terminate(pid, handler);
            else
                Cancel(pid);
        } catch (const ConnectionLost&) {
            conn_.reset();
        }
    }
}

void Chaos::Terminate(int pid, bool handler) {
    Conn& conn = Db();
    journal_.kills.push_back({pid, Now()});
    const auto rows = conn.Query("SELECT pg_terminate_backend($1)", {std::to_string(pid)});
    if (rows.Bool(0, 0))
        ++tally_.events[handler ? "processes of handlers terminated" : "backends terminated"];
    else
        journal_.kills.pop_back();
}

void Chaos::Cancel(int pid) {
    Db().Query("SELECT pg_cancel_backend($1)", {std::to_string(pid)});
    ++tally_.events["statements cancelled, if there was one"];
}

// SIGKILL for a backend makes the server throw out everybody and recover. True when that has begun.
bool Chaos::KillOne() {
    const int pid = rng_.Chance(0.3) ? HandlerPid() : AnyPid();
    if (pid == 0 || !server_->KillBackend(pid)) return false;
    // Our own connection breaks when the server has noticed. A backend that had just ended kills nobody.
    const Nanos deadline = Now() + 10 * support::kSecond;
    while (Now() < deadline) {
        try {
            Db().Exec("SELECT 1");
        } catch (const ConnectionLost&) {
            conn_.reset();
            return true;
        }
        support::Pause(support::kMillisecond);
    }
    return false;
}

void Chaos::CrashServer() {
    try {
        Db();
    } catch (const ConnectionLost&) {
        journal_.troubles.emplace_back("no connection before a crash");
        return;
    }
    // No statement is cancelled from here on: a commit that is, in its wait for the standby, is answered all the same.
    const bool fail_over = server_->CanFailOver() && rng_.Chance(0.2);
    try {
        if (fail_over && !server_->AddStandby(Db())) throw std::runtime_error("no standby can be had");
    } catch (const std::exception& error) {
        journal_.troubles.push_back(std::string("before a failover: ") + error.what());
        shared_.stop = true;
        return;
    }
    if (fail_over) support::Pause(rng_.Between(100, 2000) * support::kMillisecond);
    static constexpr std::array<Calm, 4> kCalms = {Calm::kNone, Calm::kFlushed, Calm::kUnflushed, Calm::kLocks};
    shared_.calm = kCalms[static_cast<std::size_t>(rng_.Between(0, std::ssize(kCalms) - 1))];
    if (shared_.calm != Calm::kNone) support::Pause(rng_.Between(50, 400) * support::kMillisecond);
    const Nanos req = Now();
    if (fail_over) {
        if (!server_->FailOver()) journal_.troubles.emplace_back("the standby can't take over");
        conn_.reset();
        ++tally_.events["failovers to a standby"];
    } else if (rng_.Chance(0.5)) {
        if (!server_->Restart()) journal_.troubles.emplace_back("pg_ctl restart -m immediate failed");
        conn_.reset();
        ++tally_.events["immediate shutdowns and restarts"];
    } else {
        ++tally_.events[KillOne() ? "crash restarts after SIGKILL of a backend" : "SIGKILLs that came too late"];
    }
    try {
        Db();
    } catch (const ConnectionLost& error) {
        journal_.troubles.push_back(std::string("the server did not come back: ") + error.what());
        shared_.stop = true;
    }
    journal_.crashes.push_back({req, Now()});
    shared_.calm = Calm::kNone;
}

void Resolver::Run() {
    while (!shared_.workers_gone) {
        support::Pause(rng_.Between(5, 60) * support::kMillisecond);
        LookAtDoubts();
        std::uint32_t gid = 0;
        {
            const std::lock_guard lock(shared_.mutex);
            if (shared_.gids.empty() || (shared_.gids.size() < 8 && rng_.Chance(0.5))) continue;
            const auto at = rng_.Between(0, static_cast<std::int64_t>(shared_.gids.size()) - 1);
            gid = shared_.gids[static_cast<std::size_t>(at)];
            shared_.gids.erase(shared_.gids.begin() + at);
        }
        Resolve(gid, false);
    }
}

// One that is there holds on to its rows, for which a worker may be waiting: then the round would never end. One that
// is not may come yet, as far as we know.
void Resolver::LookAtDoubts() {
    const Nanos now = Now();
    if (now < next_look_) return;
    next_look_ = now + 5 * support::kSecond;
    std::vector<std::uint32_t> there;
    try {
        if (!conn_) conn_ = std::make_unique<Conn>(Conn::Within(kPatience, shared_.conninfo, "torture resolver"));
        const auto prepared = conn_->Exec("SELECT substr(gid, 9) FROM pg_prepared_xacts WHERE gid LIKE 'torture %'");
        const std::lock_guard lock(shared_.mutex);
        for (int row = 0; row < prepared.Rows(); ++row) {
            const auto gid = static_cast<std::uint32_t>(prepared.Int(row, 0));
            const auto doubt = std::find_if(shared_.doubts.begin(), shared_.doubts.end(), [&](const auto& candidate) {
                return candidate.gid == gid && candidate.since < now - kDoubted;
            });
            if (doubt == shared_.doubts.end()) continue;
            shared_.doubts.erase(doubt);
            there.push_back(gid);
        }
    } catch (const ConnectionLost&) {
        conn_.reset();
    }
    for (const std::uint32_t gid : there) Resolve(gid, false);
}

void Resolver::Finish() {
    // A crash may have cut the connection. Then a first try would tell nothing of a transaction that may not be there.
    conn_.reset();
    // The workers are gone: no lock needed.
    for (const std::uint32_t gid : shared_.gids) Resolve(gid, false);
    for (const Shared::Doubt& doubt : shared_.doubts) Resolve(doubt.gid, true);
    shared_.gids.clear();
    shared_.doubts.clear();
}

void Resolver::Resolve(std::uint32_t gid, bool doubtful) {
    const bool commit = rng_.Chance(0.6);
    const std::string sql =
        std::string(commit ? "COMMIT" : "ROLLBACK") + " PREPARED 'torture " + std::to_string(gid) + "'";
    const Nanos req = Now();
    bool tried = false;
    for (;;) {
        try {
            if (!conn_) conn_ = std::make_unique<Conn>(Conn::Within(kPatience, shared_.conninfo, "torture resolver"));
            conn_->Exec(sql);
            journal_.resolutions.push_back(
                {gid, commit ? Outcome::kCommitted : Outcome::kRolledBack, true, req, Now()});
            ++tally_.events[commit ? "COMMIT PREPARED" : "ROLLBACK PREPARED"];
            return;
        } catch (const ConnectionLost&) {
            const bool connected = conn_ != nullptr;
            conn_.reset();
            if (!connected) {
                journal_.troubles.emplace_back("no connection for " + sql);
                return;
            }
            tried = true;
        } catch (const SqlError& error) {
            // No such transaction: an earlier try, whose answer was lost, has done it; or there never was one.
            if (error.State() == "42704" && (tried || doubtful)) {
                journal_.resolutions.push_back(
                    {gid, commit && tried ? Outcome::kCommitted : Outcome::kRolledBack, tried, req, Now()});
                return;
            }
            journal_.troubles.push_back(sql + ": " + error.State() + " " + error.what());
            journal_.resolutions.push_back({gid, Outcome::kRolledBack, false, req, Now()});
            return;
        }
    }
}

}  // namespace torture
