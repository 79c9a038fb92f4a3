#include "handling.hpp"

#include <cinttypes>
#include <cstdio>

#include "payload.hpp"

namespace torture {

using support::Conn;
using support::Now;
using support::Result;

namespace {

constexpr const char* kEchoQueue = "torture.echo";

// No constraint on the effects: one that comes twice has to be seen, not refused.
constexpr const char* kFunctions = R"(
DROP SCHEMA IF EXISTS torture CASCADE;
CREATE SCHEMA torture;
CREATE SEQUENCE torture.places;
CREATE TABLE torture.effects (place bigint, queue int, msg_id bigint, receipt bigint, read_ct int, leased_at bigint,
    called_at bigint, message jsonb, headers jsonb, priority int, group_key text);
CREATE FUNCTION torture.us(instant timestamptz) RETURNS bigint LANGUAGE sql AS
    'SELECT (extract(epoch FROM instant) * 1000000)::bigint';
CREATE FUNCTION torture.handle(m queue.message, queue int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    called_at bigint := torture.us(clock_timestamp());
    place bigint := nextval('torture.places');
    number bigint := coalesce(m.message -> 'u', m.headers -> 'u')::bigint;
    dice float8 := random();
BEGIN
    INSERT INTO torture.effects VALUES (place, queue, m.msg_id, m.receipt, m.read_ct, torture.us(m.last_read_at),
        called_at, m.message, m.headers, m.priority, m.group_key);
    IF dice < 0.06 THEN
        PERFORM pg_sleep(random() * 0.04);  -- time to be killed
    ELSIF dice < 0.10 THEN
        BEGIN
            PERFORM queue.send('torture.echo', '-1');
            RAISE 'undone by the function itself';
        EXCEPTION WHEN raise_exception THEN
            NULL;
        END;
    END IF;
    IF random() < 0.15 OR number % 16 = 0 THEN
        RAISE 'torture % % % % % % %', place, number, m.receipt, m.read_ct, torture.us(m.last_read_at), called_at,
            coalesce(split_part(m.group_key, ' ', 1), '0');
    END IF;
    PERFORM queue.send('torture.echo', to_jsonb(place));
END $$;
)";

// A call's take, in a transaction that ended some time after the call and before now.
void AddCall(const Shared& shared, Journal& journal, Take take, std::int64_t leased_at, std::int64_t called_at) {
    take.req = shared.clock.Ours(leased_at) - journal.margin;
    take.resp = shared.clock.Ours(called_at) + journal.margin;
    take.until = kNever;
    take.times_ok = leased_at <= called_at;
    take.grouped = shared.queues[take.queue].fifo;
    Tx tx{};
    tx.outcome = take.kind == TakeKind::kHandled ? Outcome::kCommitted : Outcome::kRolledBack;
    tx.begin = take.req;
    tx.end_req = shared.clock.Ours(called_at) - journal.margin;
    tx.end_resp = Now();
    take.tx = static_cast<TxId>(journal.txs.size());
    journal.txs.push_back(tx);
    journal.takes.push_back(take);
}

void ReadEffects(const Shared& shared, Conn& conn, Journal& journal) {
    conn.Exec("BEGIN; DECLARE c CURSOR FOR SELECT * FROM torture.effects ORDER BY place");
    for (;;) {
        const Result rows = conn.Exec("FETCH 200 FROM c");
        if (rows.Rows() == 0) break;
        for (int i = 0; i < rows.Rows(); ++i) {
            Take take{};
            take.kind = TakeKind::kHandled;
            take.place = rows.Int(i, 0);
            take.queue = static_cast<std::uint16_t>(rows.Int(i, 1));
            take.msg_id = rows.Int(i, 2);
            take.receipt = rows.Int(i, 3);
            take.read_ct = static_cast<std::int32_t>(rows.Int(i, 4));
            take.uid = UidOf(rows.Text(i, 7), rows.Text(i, 8));
            take.intact = take.uid != 0 && Intact(take.uid, !rows.IsNull(i, 7), rows.Text(i, 7), !rows.IsNull(i, 8),
                                                  rows.Text(i, 8), rows.Int(i, 9));
            take.group = rows.IsNull(i, 10) ? kNoGroup : GroupNumber(rows.Text(i, 10));
            AddCall(shared, journal, take, rows.Int(i, 5), rows.Int(i, 6));
        }
    }
    conn.Exec("CLOSE c; TRUNCATE torture.effects; COMMIT");
}

void ReadFailures(const Shared& shared, Conn& conn, Journal& journal) {
    const Result rows = conn.Exec("DELETE FROM queue.failures WHERE error LIKE 'torture %'"
                                  " RETURNING queue_name, msg_id, attempt, error");
    for (int i = 0; i < rows.Rows(); ++i) {
        Take take{};
        take.kind = TakeKind::kTried;
        take.intact = true;
        take.msg_id = rows.Int(i, 1);
        while (take.queue < shared.queues.size() && shared.queues[take.queue].name != rows.Text(i, 0)) ++take.queue;
        std::int64_t leased_at = 0;
        std::int64_t called_at = 0;
        const std::string error(rows.Text(i, 3));
        const int fields = std::sscanf(
            error.c_str(), "torture %" SCNd64 " %" SCNu64 " %" SCNd64 " %" SCNd32 " %" SCNd64 " %" SCNd64 " %" SCNu8,
            &take.place, &take.uid, &take.receipt, &take.read_ct, &leased_at, &called_at, &take.group);
        if (take.queue == shared.queues.size() || fields != 7 || take.read_ct != rows.Int(i, 2)) {
            journal.troubles.push_back("attempt " + std::string(rows.Text(i, 2)) + " at message " +
                                       std::to_string(take.msg_id) + " of " + std::string(rows.Text(i, 0)) +
                                       " failed with '" + error + "'");
            continue;
        }
        AddCall(shared, journal, take, leased_at, called_at);
    }
}

}  // namespace

void SetUpHandlers(Conn& conn, const std::vector<Queue>& queues) {
    conn.Exec(std::string("SET client_min_messages = warning; ") + kFunctions);
    conn.Query("SELECT queue.drop($1)", {kEchoQueue});
    conn.Query("SELECT queue.create($1)", {kEchoQueue});
    for (std::size_t i = 0; i < queues.size(); ++i) {
        if (queues[i].handlers == 0) continue;
        const std::string name = "torture.handle_" + std::to_string(i);
        conn.Exec("CREATE FUNCTION " + name +
                  "(m queue.message) RETURNS void LANGUAGE plpgsql AS"
                  " 'BEGIN PERFORM torture.handle(m, " +
                  std::to_string(i) + "); END'");
        conn.Query("SELECT queue.attach($1, $2, concurrency => $3, batch => $4)",
                   {queues[i].name, name, std::to_string(queues[i].handlers), std::to_string(queues[i].batch)});
    }
}

void ReadCalls(const Shared& shared, Conn& conn, Journal& journal) {
    ReadEffects(shared, conn, journal);
    ReadFailures(shared, conn, journal);
    const Result echoes =
        conn.Exec("SELECT message::bigint FROM queue." + support::QuoteIdentifier(std::string("q_") + kEchoQueue));
    for (int i = 0; i < echoes.Rows(); ++i) journal.echoes.push_back(echoes.Int(i, 0));
    conn.Query("SELECT queue.purge($1)", {kEchoQueue});
}

}  // namespace torture
