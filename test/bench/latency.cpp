// Times what pgbench cannot: how soon a waiting reader has a message, what waiting costs,
// and the first read on a fresh connection. Plain libpq and two threads.
//
//   latency probe DSN QUEUE MESSAGE SAMPLES   a line per sample: µs from the sender's commit
//                                             returning, and from its send being issued, to
//                                             the reader having the row
//   latency waiters DSN QUEUE COUNT SECONDS   CPU that so many waiting readers use
//   latency first DSN SQL                     ms to connect, of the first and a second call
//
// Any error ends the program with its text and status 1.

#include <libpq-fe.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <mutex>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void Die(std::string_view what) {
    std::fprintf(stderr, "latency: %.*s\n", static_cast<int>(what.size()), what.data());
    std::_Exit(1);
}

double Micros(Clock::duration d) { return std::chrono::duration<double, std::micro>(d).count(); }
double Millis(Clock::duration d) { return Micros(d) / 1000; }

struct Freer {
    void operator()(PGconn* c) const { PQfinish(c); }
    void operator()(PGresult* r) const { PQclear(r); }
};
using Result = std::unique_ptr<PGresult, Freer>;

// One connection; every call checks its outcome. One thread at a time.
class Connection {
public:
    explicit Connection(const char* dsn) : conn_(PQconnectdb(dsn)) {
        if (PQstatus(conn_.get()) != CONNECTION_OK) Die(PQerrorMessage(conn_.get()));
    }

    Result Exec(const char* sql) { return Check(PQexec(conn_.get(), sql)); }

    void Prepare(const char* name, const char* sql) { Check(PQprepare(conn_.get(), name, sql, 0, nullptr)); }

    Result Run(const char* name, std::vector<const char*> args) {
        return Check(
            PQexecPrepared(conn_.get(), name, static_cast<int>(args.size()), args.data(), nullptr, nullptr, 0));
    }

    // Issues a prepared call without waiting for its result, which Collect() fetches.
    void Issue(const char* name, std::vector<const char*> args) {
        if (PQsendQueryPrepared(conn_.get(), name, static_cast<int>(args.size()), args.data(), nullptr, nullptr, 0) ==
            0) {
            Die(PQerrorMessage(conn_.get()));
        }
    }

    Result Collect() {
        Result last = Check(PQgetResult(conn_.get()));
        while (PGresult* more = PQgetResult(conn_.get())) PQclear(more);
        return last;
    }

    // True when Collect() would not block.
    bool Ready() {
        if (PQconsumeInput(conn_.get()) == 0) Die(PQerrorMessage(conn_.get()));
        return PQisBusy(conn_.get()) == 0;
    }

    int Pid() const { return PQbackendPID(conn_.get()); }
    int Socket() const { return PQsocket(conn_.get()); }

private:
    Result Check(PGresult* raw) {
        Result result(raw);
        const ExecStatusType status = PQresultStatus(raw);
        if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
            Die(PQerrorMessage(conn_.get()));
        }
        return result;
    }

    std::unique_ptr<PGconn, Freer> conn_;
};

// Hands the reader's news to the sender.
class Handover {
public:
    void Put(std::string id, Clock::time_point at) {
        const std::lock_guard lock(mutex_);
        id_ = std::move(id);
        at_ = at;
        full_ = true;
        changed_.notify_one();
    }

    // Waits for the next message that was read.
    std::pair<std::string, Clock::time_point> Take() {
        std::unique_lock lock(mutex_);
        if (!changed_.wait_for(lock, std::chrono::seconds(30), [this] { return full_; })) {
            Die("a message was sent but no reader had it within 30 s");
        }
        full_ = false;
        return {std::move(id_), at_};
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::string id_;
    Clock::time_point at_;
    bool full_ = false;
};

// Reads and acks until that many messages came. Told of each after its ack, the sender
// goes on while this thread is already issuing the next read.
void ReadAll(const char* dsn, const char* queue, int samples, Handover* handover) {
    Connection reader(dsn);
    reader.Prepare("read", "SELECT msg_id, message FROM queue.read($1, 30, 1, 20)");
    reader.Prepare("delete", "SELECT queue.delete($1, $2)");
    for (int taken = -1; taken < samples;) {
        const Result row = reader.Run("read", {queue});
        const Clock::time_point at = Clock::now();
        if (PQntuples(row.get()) == 0) continue;
        const std::string id = PQgetvalue(row.get(), 0, 0);
        const Result gone = reader.Run("delete", {queue, id.c_str()});
        if (*PQgetvalue(gone.get(), 0, 0) != 't') Die("a message that was read was not there to delete");
        handover->Put(id, at);
        ++taken;
    }
}

int Probe(const char* dsn, const char* queue, const char* message, int samples) {
    Connection sender(dsn);
    sender.Prepare("send", "SELECT queue.send($1, $2)");
    Handover handover;
    std::thread reader(ReadAll, dsn, queue, samples, &handover);
    std::mt19937 random(1);
    // The reader has to be waiting again when the next message is sent, and samples must not
    // march in step with anything periodic.
    std::uniform_int_distribution<int> pause(300, 1300);
    for (int i = -1; i < samples; ++i) {
        std::this_thread::sleep_for(std::chrono::microseconds(pause(random)));
        const Clock::time_point issued = Clock::now();
        const Result sent = sender.Run("send", {queue, message});
        const Clock::time_point committed = Clock::now();
        const auto [id, at] = handover.Take();
        if (id != PQgetvalue(sent.get(), 0, 0)) Die("the reader had another message than was sent");
        if (i < 0) continue;  // the first one pays for caches
        std::printf("%.1f %.1f\n", Micros(at - committed), Micros(at - issued));
    }
    reader.join();
    return 0;
}

// CPU of a process so far, and how often it went to sleep.
struct Usage {
    double ticks = 0;      // seconds: utime + stime, in steps of a clock tick
    double scheduled = 0;  // seconds: what the scheduler accounted, in nanoseconds
    long sleeps = 0;

    void Add(int pid) {
        const std::string base = "/proc/" + std::to_string(pid);
        std::string text;
        std::getline(std::ifstream(base + "/stat"), text);
        // The name in parentheses may hold blanks; utime and stime are fields 14 and 15.
        std::istringstream fields(text.substr(text.rfind(')') + 2));
        std::string skip;
        for (int i = 3; i < 14; ++i) fields >> skip;
        double user = 0;
        double system = 0;
        fields >> user >> system;
        ticks += (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
        double nanos = 0;
        std::ifstream(base + "/schedstat") >> nanos;
        scheduled += nanos / 1e9;
        std::ifstream status(base + "/status");
        while (std::getline(status, text)) {
            if (text.starts_with("voluntary_ctxt_switches:")) sleeps += std::atol(&text[24]);
        }
    }
};

int Waiters(const char* dsn, const char* queue, int count, const char* seconds) {
    std::vector<std::unique_ptr<Connection>> readers;
    for (int i = 0; i < count; ++i) {
        readers.push_back(std::make_unique<Connection>(dsn));
        readers.back()->Prepare("read", "SELECT * FROM queue.read($1, 30, 1, $2)");
        readers.back()->Run("read", {queue, "0"});  // a backend's first call fills its caches
    }
    Usage before;
    for (const auto& r : readers) before.Add(r->Pid());
    const Clock::time_point start = Clock::now();
    for (const auto& r : readers) r->Issue("read", {queue, seconds});
    std::vector<pollfd> pending;
    pending.reserve(readers.size());
    for (const auto& r : readers) pending.push_back({r->Socket(), POLLIN, 0});
    for (int left = count; left > 0;) {
        if (poll(pending.data(), pending.size(), 10000 + std::atoi(seconds) * 1000) <= 0) {
            Die("the waiting readers did not come back");
        }
        for (int i = 0; i < count; ++i) {
            if (pending[i].revents == 0 || !readers[i]->Ready()) continue;
            if (PQntuples(readers[i]->Collect().get()) != 0) Die("an empty queue gave a message");
            pending[i].fd = -1;
            --left;
        }
    }
    const double wall = Millis(Clock::now() - start) / 1000;
    Usage after;
    for (const auto& r : readers) after.Add(r->Pid());
    std::printf("%.3f %.6f %ld %.2f\n", after.ticks - before.ticks, after.scheduled - before.scheduled,
                after.sleeps - before.sleeps, wall);
    return 0;
}

int First(const char* dsn, const char* sql) {
    const Clock::time_point start = Clock::now();
    Connection conn(dsn);
    const Clock::time_point connected = Clock::now();
    const Result row = conn.Exec(sql);
    const Clock::time_point first = Clock::now();
    conn.Exec(sql);
    const Clock::time_point second = Clock::now();
    if (PQntuples(row.get()) == 0) Die("the first read found nothing");
    std::printf("%.3f %.3f %.3f\n", Millis(connected - start), Millis(first - connected), Millis(second - first));
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view mode = argc > 1 ? argv[1] : "";
    if (mode == "probe" && argc == 6) return Probe(argv[2], argv[3], argv[4], std::atoi(argv[5]));
    if (mode == "waiters" && argc == 6) return Waiters(argv[2], argv[3], std::atoi(argv[4]), argv[5]);
    if (mode == "first" && argc == 4) return First(argv[2], argv[3]);
    std::fputs("usage: latency probe|waiters|first DSN ... (see the top of latency.cpp)\n", stderr);
    return 2;
}
