#include "drain.hpp"

#include <stdexcept>

#include "payload.hpp"

namespace torture {

using support::Conn;
using support::Now;

namespace {

// What holds a message back is over after a few seconds (twenty where a crash met a fenced ack).
constexpr Nanos kPatience = 60 * support::kSecond;

void AwaitQuiet(Conn& conn) {
    const Nanos deadline = Now() + kPatience;
    while (conn.Exec("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'torture'"
                     " AND datname = current_database() AND pid <> pg_backend_pid()")
               .Int(0, 0) != 0) {
        if (Now() > deadline) throw std::runtime_error("backends of closed connections don't end");
        support::Pause(5 * support::kMillisecond);
    }
}

std::uint16_t QueueCount(const Shared& shared) { return static_cast<std::uint16_t>(shared.queues.size()); }

// One turn with each queue that has no handler: what there is to read. Answers how many messages that were.
std::size_t DrainSome(Shared& shared, Session& session) {
    std::size_t drained = 0;
    for (std::uint16_t queue = 0; queue < QueueCount(shared); ++queue) {
        if (shared.queues[queue].handlers > 0) continue;
        ReadOptions options;
        options.vt = 10;
        options.qty = 200;
        for (;;) {
            const std::vector<Lease> leases = session.Read(queue, options);
            if (leases.empty()) break;
            session.Do(ActKind::kDelete, leases, true, true);
            drained += leases.size();
        }
    }
    return drained;
}

std::string TableOf(const Shared& shared, std::size_t queue) {
    return "queue." + support::QuoteIdentifier("q_" + shared.queues[queue].name);
}

void DrainQueues(Shared& shared, Session& session, Conn& conn) {
    Nanos deadline = Now() + kPatience;
    std::int64_t least = INT64_MAX;  // of messages left: handlers make progress
    for (;;) {
        if (DrainSome(shared, session) > 0) {
            deadline = Now() + kPatience;
            continue;
        }
        std::int64_t left = 0;
        for (std::size_t i = 0; i < shared.queues.size(); ++i)
            left += conn.Exec("SELECT count(*) FROM " + TableOf(shared, i)).Int(0, 0);
        if (left == 0) return;
        if (left < least) {
            least = left;
            deadline = Now() + kPatience;
        }
        if (Now() > deadline) break;
        support::Pause(20 * support::kMillisecond);
    }
    for (std::uint16_t queue = 0; queue < QueueCount(shared); ++queue) {
        const auto rows = conn.Exec("SELECT msg_id FROM " + TableOf(shared, queue));
        for (int i = 0; i < rows.Rows(); ++i) session.TakeJournal().leftovers.push_back({rows.Int(i, 0), queue});
        conn.Exec("DELETE FROM " + TableOf(shared, queue));
    }
}

void ReadArchive(Shared& shared, Journal& journal, Conn& conn, std::uint16_t queue) {
    const std::string table = "queue." + support::QuoteIdentifier("a_" + shared.queues[queue].name);
    if (conn.Query("SELECT 1 WHERE to_regclass($1) IS NOT NULL", {table}).Rows() == 0) return;
    // Megabytes each: not all at once.
    conn.Exec("BEGIN; DECLARE c CURSOR FOR SELECT msg_id, message, headers, priority, group_key FROM " + table);
    for (;;) {
        const auto rows = conn.Exec("FETCH 200 FROM c");
        if (rows.Rows() == 0) break;
        for (int i = 0; i < rows.Rows(); ++i) {
            const std::uint64_t uid = UidOf(rows.Text(i, 1), rows.Text(i, 2));
            const bool intact =
                Intact(uid, !rows.IsNull(i, 1), rows.Text(i, 1), !rows.IsNull(i, 2), rows.Text(i, 2), rows.Int(i, 3));
            journal.archived.push_back(
                {uid, rows.Int(i, 0), queue, intact, rows.IsNull(i, 4) ? kNoGroup : GroupNumber(rows.Text(i, 4))});
        }
    }
    conn.Exec("CLOSE c; DELETE FROM " + table + "; COMMIT");
}

void ReadDead(Shared& shared, Journal& journal, Conn& conn) {
    const std::string table = "queue." + support::QuoteIdentifier(std::string("q_") + kDeadQueue);
    conn.Exec("BEGIN; DECLARE c CURSOR FOR SELECT d ->> 'queue', (d ->> 'msg_id')::bigint, (d ->> 'attempts')::bigint,"
              " message, nullif(headers - 'dead_letter', '{}'), priority FROM " +
              table + ", LATERAL (SELECT headers -> 'dead_letter' AS d) x");
    for (;;) {
        const auto rows = conn.Exec("FETCH 200 FROM c");
        if (rows.Rows() == 0) break;
        for (int i = 0; i < rows.Rows(); ++i) {
            const std::uint64_t uid = UidOf(rows.Text(i, 3), rows.Text(i, 4));
            const bool intact =
                Intact(uid, !rows.IsNull(i, 3), rows.Text(i, 3), !rows.IsNull(i, 4), rows.Text(i, 4), rows.Int(i, 5));
            std::uint16_t queue = 0;
            while (queue < QueueCount(shared) && shared.queues[queue].name != rows.Text(i, 0)) ++queue;
            if (queue == QueueCount(shared))
                journal.troubles.push_back("a dead letter from queue " + std::string(rows.Text(i, 0)));
            else
                journal.dead.push_back({uid, rows.Int(i, 1), queue, rows.Int(i, 2), intact});
        }
    }
    conn.Exec("CLOSE c; DELETE FROM " + table + "; COMMIT");
}

}  // namespace

void Drain(Shared& shared, Session& session, Resolver& resolver) {
    Conn conn = Conn::Within(180, shared.conninfo, "torture drain");
    AwaitQuiet(conn);
    resolver.Finish();
    DrainQueues(shared, session, conn);
    for (std::uint16_t queue = 0; queue < QueueCount(shared); ++queue)
        ReadArchive(shared, session.TakeJournal(), conn, queue);
    ReadDead(shared, session.TakeJournal(), conn);
    session.Close();
}

}  // namespace torture
