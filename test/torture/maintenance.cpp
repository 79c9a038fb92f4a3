#include "chaos.hpp"
#include "kv_names.hpp"

namespace torture {

using support::Conn;
using support::ConnectionLost;
using support::Now;
using support::SqlError;

namespace {

// VACUUM FULL also copies rows that only old snapshots might see, and may think so of one of which a VACUUM before knew
// better, and has removed its TOAST chunks: PostgreSQL's bug 18351, to which it needs a transaction in another
// database. It leaves the table as it was. What can't be read is found when the queues are drained.
bool IsKnownBug(const SqlError& error, const std::string& command) {
    return error.State() == "XX001" && command.find("VACUUM FULL") == 0 &&
           std::string(error.what()).find(" chunk number ") != std::string::npos;
}

std::string TableOf(const Queue& queue) { return "queue." + support::QuoteIdentifier("q_" + queue.name); }

}  // namespace

void Maintenance::Run() {
    std::unique_ptr<Conn> conn;
    while (!shared_.stop) {
        try {
            if (!conn) {
                conn = std::make_unique<Conn>(Conn::Within(180, shared_.conninfo, "torture maintenance"));
                conn->Exec("SET lock_timeout = '2s'");
            }
            Step(*conn);
            support::Pause(rng_.Between(50, 400) * support::kMillisecond);
        } catch (const ConnectionLost&) {
            conn.reset();
            snapshot_.reset();
        } catch (const SqlError& error) {
            ++tally_.errors[error.State()];
            // Behind others' locks, or not allowed to, or a segment has another name by now.
            const bool fine = error.State() == "55P03" || error.State() == "40P01" || error.State() == "42501" ||
                              error.State() == "57P01" || error.State() == "42P01";
            if (!fine) journal_.troubles.push_back("maintenance: " + error.State() + " " + error.what());
        }
    }
    snapshot_.reset();
}

void Maintenance::Step(Conn& conn) {
    LookAgain();
    const double dice = rng_.Fraction();
    if (dice < 0.25) {
        Count(conn);
    } else if (dice < 0.55) {
        Vacuum(conn);
    } else if (dice < 0.65) {
        VacuumStore(conn);
    } else if (dice < 0.75) {
        conn.Query("SELECT kv.purge($1)",
                   {kStores[static_cast<std::size_t>(rng_.Between(0, std::ssize(kStores) - 1))]});
        ++tally_.events["purges of stores"];
    } else if (dice < 0.85) {
        conn.Exec("CHECKPOINT");
        ++tally_.events["checkpoints"];
    } else if (dice < 0.92) {
        conn.Exec("SELECT * FROM queue.metrics; SELECT * FROM queue.queues; SELECT * FROM kv.stats");
    } else if (!snapshot_) {
        Conn other(shared_.conninfo, "torture snapshot");
        other.Exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
        std::string seen = Look(other);
        snapshot_ = std::make_unique<Snapshot>(
            Snapshot{std::move(other), std::move(seen), Now() + support::FromSeconds(rng_.Uniform(0.5, 5))});
        ++tally_.events["old snapshots held"];
    }
}

// Everything that is in the tables, by a snapshot.
std::string Maintenance::Look(Conn& conn) const {
    std::string seen;
    for (const Queue& queue : shared_.queues) {
        const auto rows =
            conn.Exec("SELECT count(*), sum(msg_id), sum(hashtext(message::text)::bigint) FROM " + TableOf(queue));
        seen += queue.name;
        for (int column = 0; column < 3; ++column) seen += " " + std::string(rows.Text(0, column));
        seen += "; ";
    }
    std::vector<std::string> names;
    for (std::uint32_t key = 0; key < kValues; ++key) names.push_back(ValueName(key));
    const auto keys = conn.Query("SELECT count(value), sum(hashtext(value)::bigint) FROM kv.mget($1, $2)",
                                 {support::ArrayLiteral(names), kStore});
    seen += "keys " + std::string(keys.Text(0, 0)) + " " + std::string(keys.Text(0, 1));
    return seen;
}

void Maintenance::LookAgain() {
    if (!snapshot_ || Now() < snapshot_->until) return;
    const std::unique_ptr<Snapshot> snapshot = std::move(snapshot_);
    const std::string now = Look(snapshot->conn);
    if (now != snapshot->seen)
        journal_.troubles.push_back("a snapshot saw [" + snapshot->seen + "] and later [" + now + "]");
    snapshot->conn.Exec("COMMIT");
}

void Maintenance::Count(Conn& conn) {
    std::int64_t backlog = 0;
    for (const Queue& queue : shared_.queues) backlog += conn.Exec("SELECT count(*) FROM " + TableOf(queue)).Int(0, 0);
    shared_.backlog = backlog;
}

void Maintenance::Vacuum(Conn& conn) {
    const auto last = static_cast<std::int64_t>(shared_.queues.size()) - 1;
    const Queue& queue = shared_.queues[static_cast<std::size_t>(rng_.Between(0, last))];
    const double dice = rng_.Fraction();
    const char* what = dice < 0.6 ? "VACUUM" : dice < 0.75 ? "VACUUM (FREEZE)" : dice < 0.9 ? "ANALYZE" : "VACUUM FULL";
    // The segments by name: VACUUM of a parent leaves out its children.
    const auto tables =
        conn.Query("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::regclass", {TableOf(queue)});
    std::vector<std::string> names = {TableOf(queue)};
    for (int i = 0; i < tables.Rows(); ++i) names.emplace_back(tables.Text(i, 0));
    for (const std::string& name : names) Reorganise(conn, what, name);
    ++tally_.events[what];
}

void Maintenance::Reorganise(Conn& conn, const std::string& what, const std::string& table) {
    try {
        conn.Exec(what + " " + table);
    } catch (const SqlError& error) {
        if (!IsKnownBug(error, what)) throw;
        ++tally_.events["VACUUM FULL given up for bug 18351"];
    }
}

void Maintenance::VacuumStore(Conn& conn) {
    const std::string store = kStores[static_cast<std::size_t>(rng_.Between(0, std::ssize(kStores) - 1))];
    const double dice = rng_.Fraction();
    const char* what = dice < 0.6    ? "VACUUM"
                       : dice < 0.75 ? "VACUUM (FREEZE)"
                       : dice < 0.85 ? "REINDEX TABLE"
                                     : "VACUUM FULL";
    for (const char* part : {"s_", "c_"}) Reorganise(conn, what, "kv." + support::QuoteIdentifier(part + store));
    ++tally_.events[std::string(what) + " of a store"];
}

}  // namespace torture
