// torture: random clients, kills, crashes and failovers for a set time, and then a proof, from the clients' own
// journal, that the server kept every promise: see checker.hpp for what is proved.
//
//   torture --seconds N --seed S --dir DIR --bindir DIR                 on a new server in DIR
//   torture --seconds N --seed S [--datadir DIR --bindir DIR] CONNINFO  on one that runs; crashed only with --datadir
//   torture --self-test                                                 can the checker find faults?
//
// The server's background workers must be on: some queues have handlers.
//
// Other options: --workers N (10), --round SECONDS (60: it drains and checks so often). The seed repeats the choices,
// not the timing. The exit status is 0 only if nothing was violated.
//
// g++ -std=c++20 -O2 -Wall -Wextra -I$(pg_config --includedir) test/torture/*.cpp test/support/*.cpp -lpq -o torture

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <thread>

#include "chaos.hpp"
#include "checker.hpp"
#include "drain.hpp"
#include "handling.hpp"
#include "kv_drain.hpp"
#include "selftest.hpp"
#include "worker.hpp"

namespace torture {

namespace {

using support::Conn;
using support::Now;

struct Options {
    double seconds = 20;
    double round = 60;
    std::uint64_t seed = std::random_device()();
    int workers = 10;
    bool self_test = false;
    std::string datadir, bindir, dir, conninfo;
};

struct Totals {
    std::uint64_t messages = 0, values = 0;
    int rounds = 0;
    std::size_t violations = 0;
    std::array<std::size_t, static_cast<std::size_t>(Fault::kCount)> by_fault{};
    Coverage coverage;
    Tally tally;
};

[[noreturn]] void Usage() {
    std::fprintf(stderr, "usage: torture [--seconds N] [--seed N] [--workers N] [--round SECONDS]"
                         " (--dir DIR --bindir DIR | [--datadir DIR --bindir DIR] CONNINFO) | --self-test\n");
    std::exit(2);
}

Options Parse(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word == "--self-test") {
            options.self_test = true;
            continue;
        }
        if (word.rfind("--", 0) != 0) {
            if (!options.conninfo.empty()) Usage();
            options.conninfo = word;
            continue;
        }
        if (++i == argc) Usage();
        const std::string value = argv[i];
        if (word == "--seconds")
            options.seconds = std::stod(value);
        else if (word == "--round")
            options.round = std::stod(value);
        else if (word == "--seed")
            options.seed = std::stoull(value);
        else if (word == "--workers")
            options.workers = std::stoi(value);
        else if (word == "--datadir")
            options.datadir = value;
        else if (word == "--bindir")
            options.bindir = value;
        else if (word == "--dir")
            options.dir = value;
        else
            Usage();
    }
    const bool own = !options.dir.empty();
    const bool killable = own || !options.datadir.empty();
    if (!options.self_test && (own != options.conninfo.empty() || (killable && options.bindir.empty()))) Usage();
    if (options.workers < 1 || options.workers > 200 || !(options.seconds > 0) || !(options.round > 0)) Usage();
    return options;
}

std::vector<Queue> Queues() {
    return {{"torture"},
            {.name = "torture.a-b_C", .groups = true},
            {.name = "Torture", .backoff = 0.02, .backoff_max = 0.3},
            {.name = "torture.unlogged", .unlogged = true},
            {.name = "torture.fifo", .fifo = true, .groups = true},
            {.name = "torture.fifo.unlogged", .unlogged = true, .fifo = true, .groups = true},
            {.name = "torture.tries", .max_attempts = 3, .backoff = 0.03, .backoff_max = 0.4},
            {.name = "torture.handled",
             .groups = true,
             .max_attempts = 3,
             .backoff = 0.02,
             .backoff_max = 0.2,
             .handlers = 2,
             .batch = 5},
            {.name = "torture.handled.fifo",
             .fifo = true,
             .groups = true,
             .max_attempts = 4,
             .backoff = 0.01,
             .backoff_max = 0.1,
             .handlers = 3,
             .batch = 4}};
}

// What an earlier run has left, and the queues anew.
void SetUp(const Options& options) {
    Conn conn = Conn::Within(60, options.conninfo, "torture set-up");
    const auto prepared = conn.Exec("SELECT gid FROM pg_prepared_xacts WHERE gid LIKE 'torture %'");
    for (int i = 0; i < prepared.Rows(); ++i) conn.Exec("ROLLBACK PREPARED '" + std::string(prepared.Text(i, 0)) + "'");
    if (conn.Exec("SELECT to_regnamespace('queue') IS NULL").Bool(0, 0)) conn.Exec("CREATE EXTENSION pgqueue");
    conn.Query("SELECT queue.drop($1)", {kDeadQueue});
    conn.Query("SELECT queue.create($1)", {kDeadQueue});
    for (const Queue& queue : Queues()) {
        conn.Query("SELECT queue.drop($1)", {queue.name});
        conn.Query(
            "SELECT queue.create($1, vt => $2, unlogged => $3, fifo => $4, max_attempts => $5, dead_letter => $6,"
            " backoff => $7, backoff_max => $8)",
            {queue.name, std::to_string(kQueueVt), queue.unlogged ? "t" : "f", queue.fifo ? "t" : "f",
             queue.max_attempts != 0 ? support::Param(std::to_string(queue.max_attempts)) : support::Param(),
             queue.max_attempts != 0 ? support::Param(kDeadQueue) : support::Param(), std::to_string(queue.backoff),
             std::to_string(queue.backoff_max)});
    }
    SetUpHandlers(conn, Queues());
    SetUpStores(conn);
}

void Progress(const Options& options, Shared& shared, Nanos start, Nanos until) {
    Nanos next = Now() + 5 * support::kSecond;
    while (Now() < until && !shared.stop) {
        support::Pause(50 * support::kMillisecond);
        if (Now() < next) continue;
        next += 5 * support::kSecond;
        std::printf("  %5.0f of %.0f s: %" PRIu64 " messages made, about %" PRId64 " waiting\n",
                    support::ToSeconds(Now() - start), options.seconds, shared.next_uid.load() - 1,
                    shared.backlog.load());
        std::fflush(stdout);
    }
    shared.stop = true;
}

// A thread whose failure ends the round instead of the program.
std::thread Start(Shared& shared, Journal& journal, std::function<void()> body) {
    return std::thread([&shared, &journal, body = std::move(body)] {
        try {
            body();
        } catch (const std::exception& error) {
            journal.troubles.push_back(std::string("a thread failed: ") + error.what());
            shared.stop = true;
        }
    });
}

void Report(const Verdict& verdict, Totals& totals) {
    for (const Violation& violation : verdict.violations) {
        std::size_t& count = totals.by_fault[static_cast<std::size_t>(violation.fault)];
        if (++count <= 5) std::printf("VIOLATION: %s: %s\n", Name(violation.fault), violation.text.c_str());
        ++totals.violations;
    }
    totals.coverage.Add(verdict.coverage);
    std::fflush(stdout);
}

// What is next to be used, from round to round.
struct Numbers {
    std::uint64_t uid = 1, value = 1;
    std::uint32_t gid = 1, key = kKeysInUse;
};

// `next` and `history` go from round to round.
void Round(const Options& options, Server* server, double seconds, Nanos start, Numbers& next, History& history,
           Totals& totals) {
    Shared shared(static_cast<std::size_t>(options.workers));
    shared.conninfo = options.conninfo;
    shared.queues = Queues();
    shared.next_uid = next.uid;
    shared.next_gid = next.gid;
    shared.next_value = next.value;
    shared.next_key = next.key;
    {
        Conn conn = Conn::Within(60, options.conninfo, "torture clock");
        shared.clock = ClockMap::Measure(conn);
        shared.prepares = conn.Exec("SHOW max_prepared_transactions").Text(0, 0) != "0";
    }
    support::Rng rng(options.seed * 1000 + static_cast<std::uint64_t>(totals.rounds));
    std::vector<std::unique_ptr<Worker>> workers;
    workers.reserve(static_cast<std::size_t>(options.workers));
    for (int i = 0; i < options.workers; ++i) workers.push_back(std::make_unique<Worker>(shared, i, rng.Next()));
    Chaos chaos(shared, server, rng.Next());
    Maintenance maintenance(shared, rng.Next());
    Resolver resolver(shared, rng.Next());

    std::vector<std::thread> threads;
    threads.reserve(workers.size() + 2);
    std::thread resolving = Start(shared, resolver.TakeJournal(), [&] { resolver.Run(); });
    for (auto& worker : workers)
        threads.push_back(Start(shared, worker->Client().TakeJournal(), [&worker] { worker->Run(); }));
    threads.push_back(Start(shared, chaos.TakeJournal(), [&] { chaos.Run(); }));
    threads.push_back(Start(shared, maintenance.TakeJournal(), [&] { maintenance.Run(); }));
    Progress(options, shared, start, Now() + support::FromSeconds(seconds));
    for (std::thread& thread : threads) thread.join();
    shared.workers_gone = true;
    resolving.join();

    Journal journal;
    journal.queues = shared.queues;
    journal.first_uid = next.uid;
    Session drainer(shared, -1);
    Drain(shared, drainer, resolver);

    Conn conn = Conn::Within(60, options.conninfo, "torture end");
    std::vector<const KvJournal*> used;
    used.reserve(workers.size());
    for (auto& worker : workers) used.push_back(&worker->Client().TakeJournal().kv);
    DrainStores(drainer, conn, used);
    drainer.Close();

    // If the server's wall clock was set meanwhile, instants are only known so well.
    const ClockMap clock = ClockMap::Measure(conn);
    const Nanos moved = std::abs(clock.server_minus_ours - shared.clock.server_minus_ours);
    journal.margin = 2 * support::kMillisecond + clock.error + shared.clock.error + moved;

    for (auto& worker : workers) {
        journal.Absorb(worker->Client().TakeJournal());
        totals.tally.Add(worker->Client().Counts());
    }
    journal.Absorb(chaos.TakeJournal());
    totals.tally.Add(chaos.Counts());
    journal.Absorb(maintenance.TakeJournal());
    totals.tally.Add(maintenance.Counts());
    journal.Absorb(resolver.TakeJournal());
    totals.tally.Add(resolver.Counts());
    journal.Absorb(drainer.TakeJournal());
    totals.tally.Add(drainer.Counts());

    ReadCalls(shared, conn, journal);

    Report(Check(journal, history), totals);
    next = {shared.next_uid, shared.next_value, shared.next_gid, shared.next_key + kKeysInUse};
    ++totals.rounds;
}

void PrintTotals(const Options& options, const Totals& totals) {
    totals.tally.Print();
    const Coverage& c = totals.coverage;
    const auto line = [](std::uint64_t count, const char* what) { std::printf("  %10" PRIu64 "  %s\n", count, what); };
    std::printf("\n  what the proof rests on\n");
    line(c.sends_committed, "sends committed, each followed to its end");
    line(c.sends_rolled_back, "sends rolled back, which nobody may see");
    line(c.sends_unknown, "sends of unknown outcome");
    line(c.unknown_txs, "transactions of unknown outcome, which must be whole");
    line(c.acked, "messages acked for good, which nobody may see again");
    line(c.acks_rolled_back, "acks rolled back");
    line(c.leases, "leases, whose receipts must be unique");
    line(c.exclusive, "of these watched for a second holder");
    line(c.released, "of these given back by a rollback, kill or crash");
    line(c.kept_over_crash, "leases and delays that had to outlive a crash");
    line(c.redelivered, "redeliveries, whose read_ct must grow");
    line(c.stale_refused, "stale receipts refused");
    line(c.dead, "messages that were tried often enough, and are dead letters, once");
    line(c.moved_on, "dead letters redriven, each to one new message");
    line(c.backoffs, "pauses after a failed attempt in a queue with a backoff");
    line(c.handled, "messages handled, with all of the handler's effects, once");
    line(c.tried, "handlers' calls that failed, and left nothing");
    line(c.calls_ordered, "calls with grouped messages, whose order must be right");
    line(c.keys, "deduplication keys, with one message each");
    line(c.repeats, "sends with a known key, which stored nothing");
    line(c.keys_freed, "keys whose first send was rolled back, and whose next one stored its message");
    line(c.group_ordered, "deliveries of grouped messages, whose order must be right");
    line(c.group_leases, "leases, or prolongations, that kept their group to themselves");
    line(c.vanished_unlogged, "unlogged messages that a crash took");
    line(c.increments, "increments, whose sums must be unique and never fall");
    line(c.increments_undone, "of these in transactions rolled back, which count all the same");
    line(c.increments_unknown, "increments whose answer was lost");
    line(c.counters_exact, "counters known to the last increment");
    line(c.increments_taken_back, "increments that crashes took back, as synchronous_commit = off allows");
    line(c.locks_granted, "locks granted or renewed, watched for a second holder");
    line(c.locks_over_crash, "of these that had to outlive a crash");
    line(c.locks_refused, "locks refused, whose holder must be known");
    line(c.locks_answered, "renewals, unlocks and assertions with only one right answer");
    line(c.values_committed, "changes of keys committed, of which none may be lost");
    line(c.values_rolled_back, "changes of keys rolled back, which nobody may see");
    line(c.states_seen, "states of keys that must fit all changes");
    line(c.links, "of these told to whoever replaced them");
    line(c.tables_audited, "tables of stores searched for second rows, broken indexes and what expired");
    for (std::size_t i = 0; i < totals.by_fault.size(); ++i)
        if (totals.by_fault[i] != 0)
            std::printf("VIOLATED %zu times: %s\n", totals.by_fault[i], Name(static_cast<Fault>(i)));
    std::printf("\ntorture: %" PRIu64 " messages, %" PRIu64 " leases, %.0f s, %d rounds, seed %" PRIu64
                ": %zu violations\n",
                totals.messages, c.leases, options.seconds, totals.rounds, options.seed, totals.violations);
}

int Main(int argc, char** argv) {
    Options options = Parse(argc, argv);
    if (options.self_test) return SelfTest() ? 0 : 1;
    if (!SelfTest()) return 1;

    std::unique_ptr<Server> server;
    const bool own = !options.dir.empty();
    if (own) {
        server = std::make_unique<Server>(Server::Create(options.dir, options.bindir));
        options.conninfo = server->ConnInfo();
    } else if (!options.datadir.empty()) {
        server = std::make_unique<Server>(options.datadir, options.bindir);
    }
    std::printf("torture: seed %" PRIu64 ", %.0f s, %d workers%s\n", options.seed, options.seconds, options.workers,
                server ? "" : ", no crashes (no --datadir)");
    std::fflush(stdout);

    Totals totals;
    int status = 1;
    try {
        SetUp(options);
        History history;
        Numbers next;
        const Nanos start = Now();
        for (;;) {
            const double left = options.seconds - support::ToSeconds(Now() - start);
            if (totals.rounds > 0 && left < 1) break;
            // Every second round is without crashes: a restart heals whatever was wrong in shared memory.
            Round(options, totals.rounds % 2 == 0 ? server.get() : nullptr, std::min(left, options.round), start, next,
                  history, totals);
            if (totals.violations > 0) break;
        }
        totals.messages = next.uid - 1;
        totals.values = next.value - 1;
        PrintTotals(options, totals);
        status = totals.violations == 0 && totals.messages > 0 && totals.values > 0 ? 0 : 1;
    } catch (const std::exception& error) {
        std::printf("torture: FAILED with seed %" PRIu64 ": %s\n", options.seed, error.what());
    }
    if (own) server->Stop();
    return status;
}

}  // namespace

}  // namespace torture

int main(int argc, char** argv) {
    try {
        return torture::Main(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "torture: %s\n", error.what());
        return 1;
    }
}
