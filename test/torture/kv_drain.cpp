#include "kv_drain.hpp"

#include <set>

#include "kv_names.hpp"

namespace torture {

using support::Conn;
using support::Now;

namespace {

// What the program gives an end ends by then, and what a purge has put off is looked at again.
constexpr Nanos kExpiryPatience = 10 * support::kSecond;

std::string TableOf(const char* part, const char* store) {
    return std::string("kv.") + support::QuoteIdentifier(part + std::string(store));
}

// What amcheck says of the table's indexes, and then whether they can be built.
std::string IndexFault(Conn& conn, const std::string& table) {
    try {
        const bool checked = !conn.Exec("SELECT to_regproc('bt_index_check') IS NULL").Bool(0, 0);
        if (checked)
            conn.Query("SELECT bt_index_check(indexrelid, true) FROM pg_index WHERE indrelid = $1::regclass", {table});
        conn.Exec("REINDEX TABLE " + table);
    } catch (const support::SqlError& error) {
        return error.State() + " " + error.what();
    }
    return "";
}

// Rows that have expired and that a purge has not removed, after all have had their time.
std::int64_t Unpurged(Conn& conn, const char* store, const std::string& table) {
    const Nanos deadline = Now() + kExpiryPatience;
    for (;;) {
        conn.Query("SELECT kv.purge($1)", {store});
        const auto left = conn.Exec("SELECT count(*) FROM " + table + " WHERE expires_at < 'infinity'").Int(0, 0);
        if (left == 0 || Now() > deadline) return left;
        support::Pause(50 * support::kMillisecond);
    }
}

Audit Look(Conn& conn, const char* store, bool cells) {
    Audit audit{};
    audit.table = TableOf(cells ? "c_" : "s_", store);
    conn.Exec("SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off");
    const auto counts = conn.Exec(std::string("SELECT count(*), count(DISTINCT ") +
                                  (cells ? "kind::text || key" : "key") + ") FROM " + audit.table);
    audit.rows = counts.Int(0, 0);
    audit.keys = counts.Int(0, 1);
    if (!cells)
        audit.doubled = conn.Exec("SELECT count(*) FROM " + audit.table + " JOIN " + TableOf("c_", store) +
                                  " AS c USING (key) WHERE kind = 'c' AND c.expires_at > clock_timestamp() AND " +
                                  audit.table + ".expires_at > clock_timestamp()")
                            .Int(0, 0);
    conn.Exec("RESET enable_indexscan; RESET enable_indexonlyscan; RESET enable_bitmapscan");
    audit.index_fault = IndexFault(conn, audit.table);
    return audit;
}

}  // namespace

void SetUpStores(Conn& conn) {
    for (const char* store : kStores) {
        conn.Query("SELECT kv.drop_store($1)", {store});
        conn.Query(
            "SELECT kv.create_store($1, unlogged => $2, max_entries => $3)",
            {store, store == kUnloggedStore ? "t" : "f", store == kBoundedStore ? support::Param("20") : std::nullopt});
    }
    if (conn.Exec("SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'").Rows() != 0)
        conn.Exec("CREATE EXTENSION IF NOT EXISTS amcheck");
}

void DrainStores(Session& session, Conn& conn, const std::vector<const KvJournal*>& journals) {
    std::set<std::uint32_t> counters;
    for (const KvJournal* journal : journals)
        for (const Increment& increment : journal->increments) counters.insert(increment.counter);
    for (std::uint32_t key = 0; key < kValues; ++key) session.Get(key);
    for (const std::uint32_t counter : counters) session.Look(counter, true);

    std::vector<Audit>& audits = session.TakeJournal().kv.audits;
    const std::size_t first = audits.size();
    for (const char* store : kStores)
        for (const bool cells : {false, true}) audits.push_back(Look(conn, store, cells));
    for (std::size_t i = first; i < audits.size(); ++i)
        audits[i].expired = Unpurged(conn, kStores[(i - first) / 2], audits[i].table);

    for (std::uint32_t key = 0; key < kValues; ++key) conn.Query("SELECT kv.delete($1, $2)", {ValueName(key), kStore});
    for (const std::uint32_t counter : counters)
        if (counter >= kLastingCounters) conn.Query("SELECT kv.delete($1, $2)", {CounterName(counter), kStore});
    conn.Exec("CHECKPOINT");  // what the next round begins with is on disk
}

}  // namespace torture
