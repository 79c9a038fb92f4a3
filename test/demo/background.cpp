#include "background.hpp"

#include <cstdio>

namespace demo {
namespace {

constexpr const char* kJob =
    R"(SELECT queue.send('beats', jsonb_build_object('at', now(), 'visits', kv.incr('visits'))))";
constexpr double kKeyLives = 4;  // seconds
constexpr double kPatience = 30;

void SetUp(support::Conn& conn) {
    conn.Query("SELECT queue.drop('beats')");
    conn.Query("SELECT queue.create('beats')");
    conn.Query("SELECT kv.delete('visits'), kv.delete('hello')");
    conn.Query("DELETE FROM cron.job WHERE jobname = 'beat'");
    conn.Query("DELETE FROM cron.job_run_details WHERE jobname = 'beat'");
    conn.Query("SELECT cron.schedule('beat', '2 seconds', $1)", {kJob});
    conn.Query("SELECT kv.set('hello', 'I vanish', ttl => 4)");
}

// Whether the key is still answered for, and its row still there.
struct Key {
    bool alive;
    bool stored;
};
Key LookAtKey(support::Conn& conn) {
    const auto row = conn.Query("SELECT kv.exists('hello'), EXISTS (SELECT FROM kv.s_default WHERE key = 'hello')");
    return {row.Bool(0, 0), row.Bool(0, 1)};
}

void Line(const Style& style, double second, const std::string& text) {
    char when[16];
    std::snprintf(when, sizeof when, "%6.1f s", second);
    std::printf("  %s  %s\n", style.Dim(when).c_str(), text.c_str());
    std::fflush(stdout);
}

bool Check(const Style& style, const char* what, bool good) {
    std::printf("  %s %s\n", good ? style.Good(style.Tick()).c_str() : style.Bad(style.Cross()).c_str(), what);
    return good;
}

void ShowHistory(support::Conn& conn, const Style& style) {
    const auto runs = conn.Query(
        "SELECT runid, to_char(due_time, 'HH24:MI:SS'), status, return_message,"
        " round(extract(epoch FROM start_time - due_time) * 1000, 1), round(extract(epoch FROM end_time - start_time) "
        "* 1000, 1)"
        " FROM cron.job_run_details WHERE jobname = 'beat' AND status = 'succeeded' ORDER BY runid DESC LIMIT 5");
    std::printf("\n  %s\n", style.Bold("run     due        status       result      late, ms   took, ms").c_str());
    constexpr int kWidths[] = {8, 11, 13, 12, -8, -11};
    for (int i = runs.Rows() - 1; i >= 0; --i) {
        std::string line = "  ";
        for (int column = 0; column < 6; ++column) {
            const std::string text(runs.Text(i, column));
            const int width = kWidths[column];
            line +=
                width > 0 ? Left(text, static_cast<std::size_t>(width)) : Right(text, static_cast<std::size_t>(-width));
        }
        std::printf("%s\n", line.c_str());
    }
}

}  // namespace

bool ShowBackground(support::Conn& conn, const Style& style, double seconds) {
    std::printf("\n%s\n",
                style.Bold("3  with no client at all: a job every 2 seconds, and a key that lives 4").c_str());
    SetUp(conn);
    const support::Nanos start = support::Now();
    const auto elapsed = [start] { return static_cast<double>(support::Now() - start) / support::kSecond; };
    bool alive = true;
    bool stored = true;
    int beats = 0;
    while (elapsed() < seconds || ((stored || beats == 0) && elapsed() < kPatience)) {
        const auto got = conn.Query("SELECT message ->> 'visits', queue.delete('beats', msg_id, receipt)"
                                    " FROM queue.read('beats', wait => 0.25)");
        for (int i = 0; i < got.Rows(); ++i, ++beats)
            Line(style, elapsed(), style.Blue("the job has sent a message") + ", visit " + std::string(got.Text(i, 0)));
        const Key key = LookAtKey(conn);
        if (alive && !key.alive)
            Line(style, elapsed(), style.Warm("the key 'hello' has expired") + ": nobody gets it any more");
        if (stored && !key.stored) Line(style, elapsed(), style.Warm("its row is gone") + ": the worker has purged it");
        alive = key.alive;
        stored = key.stored;
    }
    ShowHistory(conn, style);
    std::printf("\n");
    const auto runs =
        conn.Query("SELECT count(*) FILTER (WHERE status = 'succeeded'), count(*) - count(DISTINCT due_time),"
                   " count(*) FILTER (WHERE status = 'failed') FROM cron.job_run_details WHERE jobname = 'beat'");
    bool good = Check(style, "the job has run by itself, each due time once",
                      runs.Int(0, 0) > 0 && runs.Int(0, 1) == 0 && runs.Int(0, 2) == 0);
    good = Check(style, "its messages were read and deleted", beats > 0) && good;
    good = Check(style, "the key and its row have gone by themselves", !alive && !stored) && good;
    std::fflush(stdout);
    // Left for who looks around, at a slower pace.
    conn.Query("SELECT cron.schedule('beat', '20 seconds', $1)", {kJob});
    return good;
}

}  // namespace demo
