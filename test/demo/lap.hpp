// One run of all records through a queue: senders, workers that take them into a table, and what befalls the workers.
#pragma once

#include "../support/histogram.hpp"
#include "../support/pg.hpp"
#include "../support/rng.hpp"
#include "packages.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace demo {

struct LapOptions {
    std::string conninfo;
    std::string queue;
    std::string table;  // for the results
    double spread = 0;  // seconds over which the sends are spread; 0: as fast as can be
    int senders = 4;
    int one_by_one = 2;  // of these; the others send batches
    int batch = 300;
    int workers = 6;
    int qty = 40;          // a worker reads up to so many
    bool trouble = false;  // kill workers, roll back
};

class Lap {
public:
    enum class Mood : std::uint8_t { kIdle, kBusy, kRolledBack, kKilled };

    struct Worker {
        std::atomic<std::uint64_t> done{0};
        std::atomic<Mood> mood{Mood::kIdle};
        std::atomic<support::Nanos> mood_since{0};
        std::atomic<int> pid{0};
        std::atomic<int> doom{0};  // 1: wait for a killer within the next transaction, 2: cut the own connection
        std::atomic<bool> on_the_block{false};  // waiting for the killer
    };

    Lap(const LapOptions& options, const std::vector<Record>& records);
    ~Lap();

    // Makes the queue and the table.
    void SetUp();
    void Start();
    // Everything processed; or a thread has failed, or nothing has moved for a minute: then it throws.
    bool Finished();
    void Stop();

    const LapOptions& Options() const { return options_; }
    std::uint64_t Total() const { return records_.size(); }
    std::uint64_t Sent() const { return sent_; }
    std::uint64_t Done() const { return done_; }
    double Seconds() const;  // since Start, until the last was done
    const std::vector<std::unique_ptr<Worker>>& Workers() const { return workers_; }
    const support::Histogram& Latency() const { return latency_; }

    std::atomic<std::uint64_t> killed{0}, cut{0}, rolled_back{0}, redelivered{0};

private:
    void Guard(const std::function<void()>& body);
    void Send(int number);
    void Work(int number);
    void Transaction(support::Conn& conn, Worker& worker, int number, support::Rng& rng);
    bool Settled(const std::vector<std::int64_t>& ids, int old_pid, int number);
    void Count(Worker& worker, const std::vector<std::int64_t>& records);
    void Assassinate();
    void SetMood(Worker& worker, Mood mood);

    struct Commit;  // in progress, should the connection break

    LapOptions options_;
    const std::vector<Record>& records_;
    std::vector<std::atomic<support::Nanos>> sent_at_;
    std::vector<std::unique_ptr<Worker>> workers_;
    support::Histogram latency_;
    std::atomic<std::uint64_t> next_{0}, sent_{0}, done_{0};
    std::atomic<support::Nanos> last_done_{0};
    std::atomic<bool> stop_{false};
    support::Nanos start_ = 0;
    std::vector<std::thread> threads_;
    std::mutex mutex_;
    std::string failure_;
};

}  // namespace demo
