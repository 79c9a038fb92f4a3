// demo: every record of this machine's package database goes through a queue, and is shown to have been processed
// exactly once, though workers are killed and roll back on the way.
//
//   demo [--seconds N] CONNINFO      the first lap's sends are spread over N seconds (15)
//
// Then the database works by itself: a job sends into a queue, and a key expires.
//
// It makes the queues packages, installed and beats, the tables demo_packages and demo_fast and the job beat in that
// database, and leaves them. The exit status is 0 only if the proof holds.
//
// g++ -std=c++20 -O2 -Wall -Wextra -I$(pg_config --includedir) test/demo/*.cpp test/support/*.cpp -lpq -o demo

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string_view>
#include <unistd.h>

#include "background.hpp"
#include "lap.hpp"
#include "packages.hpp"
#include "panel.hpp"

namespace demo {

namespace {

using support::ArrayLiteral;
using support::Conn;

constexpr const char* kQueue = "packages";

void Run(Lap& lap, const Style& style, const std::string& title) {
    lap.SetUp();
    if (!style.Live()) std::printf("\n%s\n", title.c_str());
    Panel panel(style, lap, title);
    lap.Start();
    while (!lap.Finished()) {
        panel.Draw();
        support::Pause(60 * support::kMillisecond);
    }
    lap.Stop();
    panel.Draw(true);
}

// The table against what was read from disk.
bool Prove(Conn& conn, const Lap& lap, const std::vector<Record>& records, const Style& style) {
    std::int64_t sizes = 0;
    std::int64_t fields = 0;
    for (const Record& record : records) {
        sizes += record.installed_size;
        fields += record.fields;
    }
    const auto input = static_cast<std::int64_t>(records.size());
    const auto row = conn.Exec("SELECT count(*), count(DISTINCT record), count(DISTINCT msg_id), sum(installed_size),"
                               " sum(fields), count(DISTINCT worker), count(*) FILTER (WHERE read_ct > 1) FROM " +
                               support::QuoteIdentifier(lap.Options().table));
    const auto left = conn.Exec("SELECT count(*) FROM queue." + support::QuoteIdentifier("q_" + lap.Options().queue));
    bool holds = true;
    const auto line = [&](const char* what, std::int64_t got, std::int64_t wanted) {
        const bool good = got == wanted;
        holds = holds && good;
        std::printf("  %s %-42s %14s%s\n", good ? style.Good(style.Tick()).c_str() : style.Bad(style.Cross()).c_str(),
                    what, Thousands(static_cast<std::uint64_t>(got)).c_str(),
                    good ? "" : ("   and not " + Thousands(static_cast<std::uint64_t>(wanted))).c_str());
    };
    std::printf("\n");
    line("rows in the result table", row.Int(0, 0), input);
    line("different records among them", row.Int(0, 1), input);
    line("different messages", row.Int(0, 2), input);
    line("fields in all, as on disk", row.Int(0, 4), fields);
    line("KiB installed in all, as on disk", row.Int(0, 3), sizes);
    line("messages left in the queue", left.Int(0, 0), 0);
    std::printf("  %s\n", holds ? style.Good("Every record was processed exactly once.").c_str()
                                : style.Bad("THE PROOF FAILED.").c_str());
    if (lap.Options().trouble)
        std::printf("  %s\n", style
                                  .Dim(Thousands(static_cast<std::uint64_t>(row.Int(0, 6))) +
                                       " of them had been handed to somebody before, who was killed or rolled back.")
                                  .c_str());
    std::fflush(stdout);
    return holds;
}

std::string Cut(std::string_view text, std::size_t columns) {
    return text.size() > columns ? std::string(text.substr(0, columns - 1)) + "." : std::string(text);
}

void ShowResult(Conn& conn, const std::string& table, const Style& style) {
    const std::string from = " FROM " + support::QuoteIdentifier(table);
    const auto sections = conn.Exec("SELECT coalesce(regexp_replace(section, '^.*/', ''), 'none'), count(*),"
                                    " sum(installed_size)" +
                                    from + " GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10");
    // One of each family: kernels come in dozens of versions.
    const auto largest = conn.Exec("SELECT * FROM (SELECT DISTINCT ON (regexp_replace(package, '[-.]?[0-9].*', ''))"
                                   " package, installed_size" +
                                   from +
                                   " ORDER BY regexp_replace(package, '[-.]?[0-9].*', ''), installed_size DESC) AS l"
                                   " ORDER BY 2 DESC, 1 LIMIT 10");
    std::printf("\n  %s%s\n", style.Bold(Left("sections with the most packages", 42)).c_str(),
                style.Bold("largest packages").c_str());
    const double most = sections.Rows() > 0 ? static_cast<double>(sections.Int(0, 1)) : 1;
    for (int i = 0; i < sections.Rows() && i < largest.Rows(); ++i) {
        std::printf("  %-13s %s %7s    %-25s %7s MB\n", Cut(sections.Text(i, 0), 13).c_str(),
                    style.Blue(style.Bar(static_cast<double>(sections.Int(i, 1)) / most, 16)).c_str(),
                    Thousands(static_cast<std::uint64_t>(sections.Int(i, 1))).c_str(),
                    Cut(largest.Text(i, 0), 25).c_str(),
                    Thousands(static_cast<std::uint64_t>(largest.Int(i, 1) / 1024)).c_str());
    }
}

// A queue to play with: what is installed here, some of it in hand, some due later.
void LeaveSomething(Conn& conn, const std::vector<Record>& records) {
    std::vector<std::string> messages;
    for (const Record& record : records)
        if (messages.size() < 1000) messages.push_back(record.message);
    conn.Query("SELECT queue.drop('installed')");
    conn.Query("SELECT queue.create('installed')");
    conn.Query("SELECT count(*) FROM queue.send_batch('installed', $1)", {ArrayLiteral(messages)});
    conn.Query("SELECT queue.send('installed', '{\"Package\": \"urgent\"}', priority => 9)");
    conn.Query("SELECT queue.send('installed', '{\"Package\": \"tomorrow\"}', delay => 86400)");
    conn.Query("SELECT count(*) FROM queue.read('installed', vt => 600, qty => 3)");
    conn.Query("SELECT queue.archive('installed', msg_id, receipt) FROM queue.read('installed')");
}

void ShowWhatToTry(const Style& style) {
    static constexpr const char* kLines[] = {
        "SELECT queue_name, ready, in_flight, delayed FROM queue.metrics;",
        "SELECT msg_id, receipt, message ->> 'Package' FROM queue.read('installed');",
        "SELECT queue.delete('installed', 4);                 -- the msg_id you read",
        "BEGIN; SELECT msg_id FROM queue.read('installed', qty => 3); ROLLBACK;",
        "SELECT msg_id, read_ct, vt FROM queue.peek('installed', 5);",
        "SELECT queue.send('installed', '{\"hello\": \"world\"}', delay => 5);",
        "SELECT msg_id, message FROM queue.read('packages', wait => 60);   -- waits:",
        "SELECT queue.send('packages', '{\"from\": \"another psql\"}');",
        "SELECT worker, count(*), max(read_ct) FROM demo_packages GROUP BY 1;",
        "SELECT cron.schedule('hello', '5 seconds', 'SELECT kv.incr(''hellos'')');",
        "SELECT kv.get('hellos'), * FROM cron.job_run_details ORDER BY runid DESC LIMIT 3;",
        "SELECT database, state, lag, runs_started, keys_purged FROM pgqueue.workers;",
    };
    std::printf("\n  %s\n", style.Bold("To try in psql").c_str());
    for (const char* line : kLines) std::printf("    %s\n", line);
}

void RestoreCursor(int) {
    static constexpr char kShow[] = "\x1b[?25h\n";
    if (isatty(STDOUT_FILENO) != 0 && write(STDOUT_FILENO, kShow, sizeof kShow - 1) < 0) _exit(3);
    _exit(130);
}

int Main(const std::string& conninfo, double seconds) {
    const Style style;
    std::printf("%s\n", style.Dim("Reading the package database of this machine ...").c_str());
    std::fflush(stdout);
    const Packages packages = ReadPackages();
    std::string sources;
    for (const std::string& source : packages.sources) sources += (sources.empty() ? "" : style.Between()) + source;
    std::printf("%s records (%s)\n", Thousands(packages.records.size()).c_str(), sources.c_str());

    Conn conn(conninfo, "pgqueue demo");
    conn.Exec("SET client_min_messages = warning; CREATE EXTENSION IF NOT EXISTS pgqueue");

    LapOptions slow;
    slow.conninfo = conninfo;
    slow.queue = kQueue;
    slow.table = "demo_packages";
    slow.spread = seconds;
    slow.trouble = true;
    Lap first(slow, packages.records);
    Run(first, style, "1  4 senders, 6 workers, some of them killed on the way");
    bool holds = Prove(conn, first, packages.records, style);

    LapOptions fast = slow;
    fast.table = "demo_fast";
    fast.spread = 0;
    fast.senders = 2;
    fast.one_by_one = 0;
    fast.batch = 1000;
    fast.workers = 4;
    fast.qty = 200;
    fast.trouble = false;
    Lap second(fast, packages.records);
    Run(second, style, "2  the same again, as fast as it goes");
    holds = Prove(conn, second, packages.records, style) && holds;
    std::printf("  %s\n",
                style
                    .Dim(Thousands(static_cast<std::uint64_t>(static_cast<double>(second.Total()) / second.Seconds())) +
                         " messages a second sent, read, inserted elsewhere and acked.")
                    .c_str());

    ShowResult(conn, "demo_packages", style);
    holds = ShowBackground(conn, style, 9) && holds;
    LeaveSomething(conn, packages.records);
    ShowWhatToTry(style);
    return holds ? 0 : 1;
}

}  // namespace

}  // namespace demo

int main(int argc, char** argv) {
    double seconds = 15;
    const char* conninfo = nullptr;
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            seconds = std::atof(argv[++i]);
        else if (conninfo == nullptr && std::strncmp(argv[i], "--", 2) != 0)
            conninfo = argv[i];
        else
            conninfo = "";
    }
    if (conninfo == nullptr || *conninfo == '\0') {
        std::fprintf(stderr, "usage: demo [--seconds N] CONNINFO\n");
        return 2;
    }
    std::signal(SIGINT, demo::RestoreCursor);
    std::signal(SIGTERM, demo::RestoreCursor);
    try {
        return demo::Main(conninfo, seconds);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "demo: %s\n", error.what());
        return 1;
    }
}
