#include "drain.hpp"

#include <stdexcept>

#include "payload.hpp"

namespace torture {

using support::Conn;
using support::Now;

namespace {

// Everything that holds a message back is over after a few seconds, so this is for machines that crawl.
constexpr Nanos kPatience = 90 * support::kSecond;

void AwaitQuiet(Conn& conn) {
    const Nanos deadline = Now() + kPatience;
    while (conn.Exec("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'torture'"
                     " AND datname = current_database() AND pid <> pg_backend_pid()")
               .Int(0, 0) != 0) {
        if (Now() > deadline) throw std::runtime_error("backends of closed connections don't end");
        support::Pause(5 * support::kMillisecond);
    }
}

void DrainQueue(Shared& shared, Session& session, Conn& conn, std::uint16_t queue) {
    const std::string table = "queue." + support::QuoteIdentifier("q_" + shared.queues[queue].name);
    Nanos deadline = Now() + kPatience;
    for (;;) {
        ReadOptions options;
        options.vt = 10;
        options.qty = 200;
        const std::vector<Lease> leases = session.Read(queue, options);
        if (!leases.empty()) {
            session.Do(ActKind::kDelete, leases, true, true);
            deadline = Now() + kPatience;
            continue;
        }
        if (conn.Exec("SELECT count(*) FROM " + table).Int(0, 0) == 0) return;
        if (Now() > deadline) break;
        support::Pause(20 * support::kMillisecond);
    }
    const auto rows = conn.Exec("SELECT msg_id FROM " + table);
    for (int i = 0; i < rows.Rows(); ++i) session.TakeJournal().leftovers.push_back({rows.Int(i, 0), queue});
    conn.Exec("DELETE FROM " + table);
}

void ReadArchive(Shared& shared, Journal& journal, Conn& conn, std::uint16_t queue) {
    const std::string table = "queue." + support::QuoteIdentifier("a_" + shared.queues[queue].name);
    if (conn.Query("SELECT 1 WHERE to_regclass($1) IS NOT NULL", {table}).Rows() == 0) return;
    // Megabytes each: not all at once.
    conn.Exec("BEGIN; DECLARE c CURSOR FOR SELECT msg_id, message, headers, priority FROM " + table);
    for (;;) {
        const auto rows = conn.Exec("FETCH 200 FROM c");
        if (rows.Rows() == 0) break;
        for (int i = 0; i < rows.Rows(); ++i) {
            const std::uint64_t uid = UidOf(rows.Text(i, 1), rows.Text(i, 2));
            const bool intact =
                Intact(uid, !rows.IsNull(i, 1), rows.Text(i, 1), !rows.IsNull(i, 2), rows.Text(i, 2), rows.Int(i, 3));
            journal.archived.push_back({uid, rows.Int(i, 0), queue, intact});
        }
    }
    conn.Exec("CLOSE c; DELETE FROM " + table + "; COMMIT");
}

}  // namespace

void Drain(Shared& shared, Session& session, Resolver& resolver) {
    Conn conn = Conn::Within(180, shared.conninfo, "torture drain");
    AwaitQuiet(conn);
    resolver.Finish();
    const auto queues = static_cast<std::uint16_t>(shared.queues.size());
    for (std::uint16_t queue = 0; queue < queues; ++queue) DrainQueue(shared, session, conn, queue);
    for (std::uint16_t queue = 0; queue < queues; ++queue) ReadArchive(shared, session.TakeJournal(), conn, queue);
    session.Close();
}

}  // namespace torture
