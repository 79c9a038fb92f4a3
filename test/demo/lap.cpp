#include "lap.hpp"

#include <algorithm>
#include <functional>
#include <stdexcept>

namespace demo {

using support::ArrayLiteral;
using support::Conn;
using support::ConnectionLost;
using support::Now;

namespace {

constexpr const char* kApplication = "pgqueue demo";
constexpr support::Nanos kStandstill = 60 * support::kSecond;

std::string Quoted(const std::string& name) { return support::QuoteIdentifier(name); }

}  // namespace

// Thrown where a COMMIT was sent and not answered: either all of it happened or nothing.
struct Lap::Commit {
    std::vector<std::int64_t> ids, records;
};

Lap::Lap(const LapOptions& options, const std::vector<Record>& records)
    : options_(options), records_(records), sent_at_(records.size()) {
    for (int i = 0; i < options.workers; ++i) workers_.push_back(std::make_unique<Worker>());
}

Lap::~Lap() { Stop(); }

void Lap::SetUp() {
    Conn conn(options_.conninfo, kApplication);
    conn.Query("SELECT queue.drop($1)", {options_.queue});
    conn.Query("SELECT queue.create($1)", {options_.queue});
    // Nothing here would stop a message from being processed twice: that is for the queue to do.
    conn.Exec("DROP TABLE IF EXISTS " + Quoted(options_.table) + "; CREATE TABLE " + Quoted(options_.table) +
              " (record integer, source text, package text, version text, section text, installed_size bigint,"
              " fields integer, worker integer, msg_id bigint, read_ct integer,"
              " done_at timestamptz DEFAULT clock_timestamp())");
}

void Lap::Start() {
    start_ = Now();
    last_done_ = start_;
    for (int i = 0; i < options_.senders; ++i) threads_.emplace_back([this, i] { Guard([&] { Send(i); }); });
    for (int i = 0; i < options_.workers; ++i) threads_.emplace_back([this, i] { Guard([&] { Work(i); }); });
    if (options_.trouble) threads_.emplace_back([this] { Guard([&] { Assassinate(); }); });
}

void Lap::Guard(const std::function<void()>& body) {
    try {
        body();
    } catch (const std::exception& error) {
        const std::lock_guard lock(mutex_);
        if (failure_.empty()) failure_ = error.what();
    }
}

void Lap::Stop() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
}

bool Lap::Finished() {
    {
        const std::lock_guard lock(mutex_);
        if (!failure_.empty()) throw std::runtime_error(failure_);
    }
    if (done_ >= Total()) return true;
    if (Now() - last_done_ > kStandstill)
        throw std::runtime_error("nothing was processed for a minute: " + std::to_string(done_) + " of " +
                                 std::to_string(Total()) + " done");
    return false;
}

double Lap::Seconds() const { return support::ToSeconds((done_ >= Total() ? last_done_.load() : Now()) - start_); }

void Lap::SetMood(Worker& worker, Mood mood) {
    worker.mood = mood;
    worker.mood_since = Now();
}

// --- senders

void Lap::Send(int number) {
    const bool in_batches = number >= options_.one_by_one;
    const std::uint64_t share = in_batches ? static_cast<std::uint64_t>(options_.batch) : 8;
    Conn conn(options_.conninfo, kApplication);
    while (!stop_) {
        const std::uint64_t first = next_.fetch_add(share);
        if (first >= Total()) return;
        const std::uint64_t last = std::min(first + share, Total());
        if (options_.spread > 0) {
            // When this share's turn is, if all are spread evenly.
            const auto due = start_ + support::FromSeconds(options_.spread * static_cast<double>(first) /
                                                           static_cast<double>(Total()));
            while (Now() < due && !stop_) support::Pause(std::min(due - Now(), 20 * support::kMillisecond));
        }
        std::vector<std::string> messages, headers;
        for (std::uint64_t i = first; i < last; ++i) {
            messages.push_back(records_[i].message);
            headers.push_back(R"({"record": )" + std::to_string(i) + R"(, "source": ")" + records_[i].source + R"("})");
        }
        if (in_batches) {
            const auto at = Now();
            for (std::uint64_t i = first; i < last; ++i) sent_at_[i] = at;
            conn.Query("SELECT count(*) FROM queue.send_batch($1, $2, $3)",
                       {options_.queue, ArrayLiteral(messages), ArrayLiteral(headers)});
            sent_ += last - first;
        } else {
            for (std::uint64_t i = first; i < last && !stop_; ++i) {
                sent_at_[i] = Now();
                conn.Query("SELECT queue.send($1, $2, $3)", {options_.queue, messages[i - first], headers[i - first]});
                ++sent_;
            }
        }
    }
}

// --- workers

void Lap::Work(int number) {
    Worker& worker = *workers_[static_cast<std::size_t>(number)];
    support::Rng rng(static_cast<std::uint64_t>(number) + 1);
    while (!stop_) {
        Conn conn = Conn::Within(30, options_.conninfo, kApplication);
        worker.pid = conn.Pid();
        try {
            while (!stop_) Transaction(conn, worker, number, rng);
        } catch (const Commit& commit) {
            SetMood(worker, Mood::kKilled);
            if (Settled(commit.ids, worker.pid, number)) Count(worker, commit.records);
        } catch (const ConnectionLost&) {
            SetMood(worker, Mood::kKilled);
        }
        worker.on_the_block = false;
    }
}

// Read some, note them in a table, ack them: all or nothing.
void Lap::Transaction(Conn& conn, Worker& worker, int number, support::Rng& rng) {
    const auto qty = options_.trouble ? rng.Between(1, options_.qty) : options_.qty;
    conn.Exec("BEGIN");
    const auto rows =
        conn.Query("SELECT r.msg_id, r.receipt, r.read_ct, r.headers ->> 'record', r.headers ->> 'source',"
                   " r.message ->> 'Package', r.message ->> 'Version', r.message ->> 'Section',"
                   " coalesce(r.message ->> 'Installed-Size', '0'),"
                   " (SELECT count(*) FROM jsonb_object_keys(r.message))"
                   " FROM queue.read($1, 30, $2, wait => 0.2) r",
                   {options_.queue, std::to_string(qty)});
    if (rows.Rows() == 0) {
        conn.Exec("COMMIT");
        worker.mood = Mood::kIdle;
        return;
    }
    if (worker.mood == Mood::kIdle || Now() - worker.mood_since > 400 * support::kMillisecond)
        SetMood(worker, Mood::kBusy);

    Commit work;
    std::vector<std::int64_t> receipts, counts;
    std::vector<std::vector<std::string>> texts(6);
    for (int row = 0; row < rows.Rows(); ++row) {
        work.ids.push_back(rows.Int(row, 0));
        receipts.push_back(rows.Int(row, 1));
        counts.push_back(rows.Int(row, 2));
        work.records.push_back(rows.Int(row, 3));
        for (int column = 0; column < 6; ++column)
            texts[static_cast<std::size_t>(column)].emplace_back(rows.Text(row, column + 4));
        if (counts.back() > 1) ++redelivered;
    }
    conn.Query(
        "INSERT INTO " + Quoted(options_.table) +
            " (record, source, package, version, section, installed_size, fields, worker, msg_id, read_ct)"
            " SELECT r, s, p, v, nullif(c, ''), i, f, $1, m, n FROM unnest($2::integer[], $3::text[], $4::text[],"
            " $5::text[], $6::text[], $7::bigint[], $8::integer[], $9::bigint[], $10::integer[])"
            " AS t (r, s, p, v, c, i, f, m, n)",
        {std::to_string(number + 1), ArrayLiteral(work.records), ArrayLiteral(texts[0]), ArrayLiteral(texts[1]),
         ArrayLiteral(texts[2]), ArrayLiteral(texts[3]), ArrayLiteral(texts[4]), ArrayLiteral(texts[5]),
         ArrayLiteral(work.ids), ArrayLiteral(counts)});
    int acked = 0;
    if (work.ids.size() <= 4) {
        for (std::size_t i = 0; i < work.ids.size(); ++i)
            acked += conn.Query("SELECT queue.delete($1, $2, $3)",
                                {options_.queue, std::to_string(work.ids[i]), std::to_string(receipts[i])})
                         .Bool(0, 0);
    } else {
        acked = conn.Query("SELECT * FROM queue.delete_batch($1, $2, $3)",
                           {options_.queue, ArrayLiteral(work.ids), ArrayLiteral(receipts)})
                    .Rows();
    }

    const int doom = worker.doom.exchange(0);
    if (doom == 1) {
        worker.on_the_block = true;
        conn.Exec("SELECT pg_sleep(60)");
    } else if (doom == 2) {
        ++cut;
        conn.Cut();
    }
    // A lease that has run out (a machine that stood still) may be somebody else's now.
    const bool stale = acked != static_cast<int>(work.ids.size());
    if (stale || (options_.trouble && rng.Chance(0.03))) {
        conn.Exec("ROLLBACK");
        ++rolled_back;
        SetMood(worker, Mood::kRolledBack);
        return;
    }
    try {
        conn.Exec("COMMIT");
    } catch (const ConnectionLost&) {
        if (doom == 2) throw;  // it was broken before
        throw work;
    }
    Count(worker, work.records);
}

void Lap::Count(Worker& worker, const std::vector<std::int64_t>& records) {
    const auto now = Now();
    for (const std::int64_t record : records) latency_.Add(now - sent_at_[static_cast<std::size_t>(record)]);
    worker.done += records.size();
    last_done_ = now;
    done_ += records.size();
}

// Whether that COMMIT was done: once the backend is gone, the table tells.
bool Lap::Settled(const std::vector<std::int64_t>& ids, int old_pid, int number) {
    Conn conn = Conn::Within(30, options_.conninfo, kApplication);
    const auto deadline = Now() + kStandstill;
    while (conn.Query("SELECT 1 FROM pg_stat_activity WHERE pid = $1", {std::to_string(old_pid)}).Rows() != 0) {
        if (Now() > deadline) throw std::runtime_error("a killed backend doesn't end");
        support::Pause(support::kMillisecond);
    }
    return conn.Query("SELECT count(*) FROM " + Quoted(options_.table) + " WHERE worker = $1 AND msg_id = ANY($2)",
                      {std::to_string(number + 1), ArrayLiteral(ids)})
               .Int(0, 0) != 0;
}

// Kills a worker every now and then: in the middle of a transaction, or wherever it happens to be.
void Lap::Assassinate() {
    support::Rng rng(7);
    Conn conn(options_.conninfo, kApplication);
    while (!stop_) {
        const auto until = Now() + rng.Between(150, 450) * support::kMillisecond;
        while (Now() < until && !stop_) support::Pause(10 * support::kMillisecond);
        Worker& worker = *workers_[static_cast<std::size_t>(rng.Between(0, options_.workers - 1))];
        const auto how = rng.Between(0, 2);
        if (how == 0) {
            worker.doom = 2;
            continue;
        }
        if (how == 1) {
            worker.doom = 1;
            const auto deadline = Now() + support::kSecond;
            while (!worker.on_the_block && Now() < deadline && !stop_) support::Pause(support::kMillisecond);
            // Not yet in a transaction: let it live.
            int armed = 1;
            if (!worker.on_the_block && worker.doom.compare_exchange_strong(armed, 0)) continue;
            while (!worker.on_the_block && Now() < deadline + kStandstill) support::Pause(support::kMillisecond);
        }
        if (conn.Query("SELECT pg_terminate_backend($1)", {std::to_string(worker.pid)}).Bool(0, 0)) ++killed;
    }
    for (auto& worker : workers_) worker->doom = 0;
}

}  // namespace demo
