#include "worker.hpp"

#include <algorithm>
#include <array>

namespace torture {

namespace {

constexpr std::size_t kMemory = 256;

void Remember(std::vector<Lease>& list, const Lease& lease, support::Rng& rng) {
    if (list.size() < kMemory)
        list.push_back(lease);
    else
        list[static_cast<std::size_t>(rng.Between(0, kMemory - 1))] = lease;
}

}  // namespace

Worker::Worker(Shared& shared, int number, std::uint64_t seed)
    : shared_(shared), session_(shared, number), rng_(seed), keys_(session_, rng_) {}

void Worker::Run() {
    while (!shared_.stop) {
        try {
            Step();
            if (rng_.Chance(0.2)) support::Pause(rng_.Between(0, 3) * support::kMillisecond);
        } catch (const support::ConnectionLost&) {
            // The leases of a broken transaction go back by themselves; to try with them later is part of the game.
            Forget();
        }
    }
    session_.Close();
}

void Worker::Step() {
    if (const Calm calm = shared_.calm; calm != Calm::kNone) {
        keys_.BeforeCrash(calm);
        support::Pause(rng_.Between(0, 20) * support::kMillisecond);
        return;
    }
    if (rng_.Chance(0.45))
        Transaction();
    else
        Alone();
}

std::uint16_t Worker::AnyQueue() {
    return static_cast<std::uint16_t>(rng_.Between(0, static_cast<std::int64_t>(shared_.queues.size()) - 1));
}

// Most of what has a handler is left to it.
std::uint16_t Worker::QueueToRead() {
    for (;;)
        if (const std::uint16_t queue = AnyQueue(); shared_.queues[queue].handlers == 0 || rng_.Chance(0.2))
            return queue;
}

// Moves up to `most` random leases, all of one queue and no message twice, out of `from`.
std::vector<Lease> Worker::Choose(std::vector<Lease>& from, std::size_t most) {
    std::vector<Lease> chosen;
    if (from.empty()) return chosen;
    const auto queue =
        from[static_cast<std::size_t>(rng_.Between(0, static_cast<std::int64_t>(from.size()) - 1))].queue;
    for (std::size_t i = from.size(); i-- > 0 && chosen.size() < most;) {
        if (from[i].queue != queue) continue;
        const bool twice = std::any_of(chosen.begin(), chosen.end(),
                                       [&](const Lease& lease) { return lease.msg_id == from[i].msg_id; });
        if (twice) continue;
        chosen.push_back(from[i]);
        from[i] = from.back();
        from.pop_back();
    }
    return chosen;
}

void Worker::Keep(std::vector<Lease> leases) {
    auto& to = session_.InTransaction() ? fresh_ : held_;
    to.insert(to.end(), leases.begin(), leases.end());
}

// The transaction is over, one way or the other.
void Worker::Forget() {
    for (const Lease& lease : fresh_) {
        if (rng_.Chance(0.7)) held_.push_back(lease);
        Remember(past_, lease, rng_);
    }
    fresh_.clear();
    while (held_.size() > 2000) {
        Remember(past_, held_.back(), rng_);
        held_.pop_back();
    }
}

void Worker::SendSome() {
    SendOptions options;
    const double dice = rng_.Fraction();
    if (dice < 0.15) options.delay = rng_.Uniform(0.05, 2.5);
    options.deliver_at = rng_.Chance(0.3);
    const std::uint16_t queue = AnyQueue();
    if (rng_.Chance(0.2) && !shared_.queues[queue].fifo) options.priority = rng_.Between(0, 9);
    options.group = GroupFor(queue);
    if (options.group == kNoGroup && rng_.Chance(0.2)) {
        options.delay = 0;
        options.keyed = true;
    }
    if (options.group != kNoGroup && rng_.Chance(0.25)) {  // one behind the other
        for (auto left = rng_.Between(2, 5); left > 0 && !session_.Failed(); --left)
            Remember(sent_, {queue, session_.Send(queue, options), 0}, rng_);
        return;
    }
    if (rng_.Chance(Crowded() ? 0.95 : 0.7)) {
        Remember(sent_, {queue, session_.Send(queue, options), 0}, rng_);
    } else {
        options.deliver_at = false;
        options.mixed = options.group != kNoGroup && rng_.Chance(0.6);
        const auto count = static_cast<int>(rng_.Chance(0.9) ? rng_.Between(0, 30) : rng_.Between(30, 400));
        for (const std::int64_t id : session_.SendBatch(queue, count, options)) Remember(sent_, {queue, id, 0}, rng_);
    }
}

void Worker::ReadSome() {
    ReadOptions options;
    const double dice = rng_.Fraction();
    // Some leases are so short that they run out in the hand.
    if (dice < 0.5)
        options.vt = rng_.Uniform(1, 6);
    else if (dice < 0.8)
        options.vt = rng_.Uniform(0.02, 0.5);
    options.qty = rng_.Chance(0.5) ? 1 : rng_.Between(2, 60);
    if (rng_.Chance(0.2)) options.wait = rng_.Uniform(0.01, 0.6);
    if (rng_.Chance(0.1)) options.filter = static_cast<int>(rng_.Between(0, 3));
    const std::uint16_t queue = QueueToRead();
    if (shared_.queues[queue].fifo) {
        if (!options.vt || *options.vt > 1) options.vt = rng_.Uniform(0.3, 1);  // a group that waits is no torture
        if (rng_.Chance(0.05)) options.grouped = false;
    } else if (shared_.queues[queue].groups && rng_.Chance(0.5)) {
        options.grouped = true;
    }
    Keep(session_.Read(queue, options));
}

// Acks, nacks and heartbeats for leases of ours, or of others.
void Worker::AckSome() {
    std::vector<Lease> leases;
    auto& own = !fresh_.empty() && rng_.Chance(0.7) ? fresh_ : held_;
    const std::size_t most = rng_.Chance(0.4) ? 1 : static_cast<std::size_t>(rng_.Between(1, 60));
    if (rng_.Chance(0.1)) {
        const std::lock_guard lock(shared_.mutex);
        leases = Choose(shared_.pool, most);
    }
    if (leases.empty()) leases = Choose(own, most);
    if (leases.empty()) return;
    for (const Lease& lease : leases)
        if (rng_.Chance(0.3)) Remember(past_, lease, rng_);

    const bool fenced = rng_.Chance(0.85);
    const bool batch = rng_.Chance(0.6);
    const double dice = rng_.Fraction();
    if (dice < 0.50) {
        session_.Do(ActKind::kDelete, leases, fenced, batch);
    } else if (dice < 0.68) {
        session_.Do(ActKind::kArchive, leases, fenced, batch);
    } else if (dice < 0.78) {
        leases.resize(std::min<std::size_t>(leases.size(), 8));
        session_.Do(ActKind::kNack, leases, fenced, false,
                    rng_.Chance(0.3)   ? -1
                    : rng_.Chance(0.5) ? 0
                                       : rng_.Uniform(0.05, 1.5));
    } else if (dice < 0.90) {
        session_.SetVt(leases, rng_.Chance(0.2) ? 0 : rng_.Uniform(0.05, 4), fenced, batch);
        Keep(leases);
    } else if (dice < 0.96) {
        const std::lock_guard lock(shared_.mutex);
        shared_.pool.insert(shared_.pool.end(), leases.begin(), leases.end());
    } else {
        Keep(leases);  // to be acked, perhaps, when they have run out
    }
}

// Old receipts, and ids that were never read.
void Worker::Stale() {
    if (rng_.Chance(0.75)) {
        const std::vector<Lease> leases = Choose(past_, static_cast<std::size_t>(rng_.Between(1, 6)));
        const double dice = rng_.Fraction();
        const bool batch = rng_.Chance(0.5);
        if (dice < 0.5)
            session_.Do(rng_.Chance(0.8) ? ActKind::kDelete : ActKind::kArchive, leases, true, batch);
        else if (dice < 0.75)
            session_.Do(ActKind::kNack, leases, true, false, rng_.Chance(0.5) ? 0 : 0.3);
        else
            session_.SetVt(leases, rng_.Uniform(0, 0.5), true, batch);
        for (const Lease& lease : leases) Remember(past_, lease, rng_);
        return;
    }
    std::vector<Lease> leases = Choose(sent_, 3);
    leases.erase(std::remove_if(leases.begin(), leases.end(), [](const Lease& l) { return l.msg_id <= 0; }),
                 leases.end());
    if (leases.empty()) return;
    if (rng_.Chance(0.3))
        session_.SqlDelete(leases.front().queue, leases.front().msg_id);
    else if (rng_.Chance(0.5))
        session_.SetVt(leases, rng_.Uniform(0, 1), false, rng_.Chance(0.5));
    else
        session_.Do(rng_.Chance(0.5) ? ActKind::kDelete : ActKind::kNack, leases, false, rng_.Chance(0.5), 0.2);
}

// Acks in the very moment in which the leases run out, while others are after the same messages.
void Worker::Brink() {
    ReadOptions options;
    // Longer than a read takes: a lease that runs out within its own read comes twice in one answer.
    options.vt = rng_.Uniform(0.02, 0.05);
    options.qty = rng_.Between(1, 6);
    const Nanos end = support::Now() + support::FromSeconds(*options.vt);
    const std::vector<Lease> leases = session_.Read(QueueToRead(), options);
    for (const Lease& lease : leases) Remember(past_, lease, rng_);
    if (leases.empty() || session_.Failed()) return;
    const Nanos moment = end + rng_.Between(-400, 400) * 1000;
    if (const Nanos now = support::Now(); moment > now) support::Pause(moment - now);
    const bool batch = rng_.Chance(0.3);
    if (rng_.Chance(0.2))
        session_.SetVt(leases, rng_.Uniform(0, 0.05), true, batch);
    else
        session_.Do(rng_.Chance(0.8) ? ActKind::kDelete : ActKind::kArchive, leases, true, batch);
}

GroupNo Worker::GroupFor(std::uint16_t queue) {
    return shared_.queues[queue].groups ? AnyGroup(rng_.Next()) : kNoGroup;
}

std::uint16_t Worker::FifoQueue() {
    for (;;)
        if (const std::uint16_t queue = QueueToRead(); shared_.queues[queue].fifo) return queue;
}

// A consumer of a fifo queue as they are meant to be: some messages, and one after the other is done, or something goes
// wrong.
void Worker::Consume() {
    ReadOptions options;
    options.vt = rng_.Chance(0.3) ? rng_.Uniform(0.01, 0.1) : rng_.Uniform(0.1, 1.5);
    options.qty = rng_.Chance(0.4) ? 1 : rng_.Between(2, 20);
    if (rng_.Chance(0.3)) options.wait = rng_.Uniform(0.01, 0.3);
    const std::vector<Lease> leases = session_.Read(FifoQueue(), options);
    if (rng_.Chance(0.2) && !session_.Failed() && !leases.empty()) {
        session_.Do(rng_.Chance(0.8) ? ActKind::kDelete : ActKind::kArchive, leases, true, true);
        return;
    }
    for (const Lease& lease : leases) {
        if (session_.Failed()) return;
        if (rng_.Chance(0.05)) support::Pause(rng_.Between(0, 20) * support::kMillisecond);
        const double dice = rng_.Fraction();
        if (dice < 0.70)
            session_.Do(ActKind::kDelete, {lease}, true, false);
        else if (dice < 0.76)
            session_.Do(ActKind::kArchive, {lease}, true, false);
        else if (dice < 0.83)
            session_.Do(ActKind::kNack, {lease}, true, false, rng_.Chance(0.5) ? 0 : rng_.Uniform(0.01, 0.3));
        else if (dice < 0.91)
            session_.SetVt({lease}, rng_.Uniform(0.01, 0.6), true, false);
        else if (dice < 0.93)
            session_.SqlDelete(lease.queue, lease.msg_id);
        else if (dice < 0.97)
            Keep({lease});
        if (dice > 0.985) break;
    }
    for (const Lease& lease : leases)
        if (rng_.Chance(0.2)) Remember(past_, lease, rng_);
}

void Worker::Anything() {
    if (rng_.Chance(0.3)) {
        keys_.Step();
        return;
    }
    if (rng_.Chance(0.15)) {
        Consume();
        return;
    }
    const double dice = rng_.Fraction();
    const double sends = Crowded() ? 0.08 : 0.38;
    if (dice < sends)
        SendSome();
    else if (dice < 0.62)
        ReadSome();
    else if (dice < 0.93)
        AckSome();
    else
        Stale();
}

void Worker::Alone() {
    Forget();
    const double dice = rng_.Fraction();
    if (dice < 0.83) {
        Anything();
    } else if (dice < 0.86) {
        keys_.Burst();
    } else if (dice < 0.93) {
        session_.ReadAndDelete(QueueToRead(), rng_.Chance(0.5) ? 1 : rng_.Between(1, 30));
    } else if (dice < 0.935) {
        for (int i = 0; i < 20 && !shared_.stop; ++i) Brink();
    } else if (dice < 0.955) {
        session_.Pop(QueueToRead(), rng_.Between(1, 20));
    } else if (dice < 0.98) {
        session_.Peek(AnyQueue(), rng_.Between(1, 10));
    } else {
        session_.Wait(AnyQueue(), rng_.Uniform(0.01, 0.3));
    }
}

void Worker::Transaction() {
    static constexpr std::array<const char*, 3> kLevels = {"READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"};
    const double level = rng_.Fraction();
    session_.Begin(kLevels[level < 0.8 ? 0 : level < 0.92 ? 1 : 2]);
    if (!session_.InTransaction()) return;

    if (rng_.Chance(0.01)) session_.Redrive(rng_.Chance(0.5) ? rng_.Between(1, 10) : 1000);
    const auto steps = rng_.Between(1, 7);
    for (std::int64_t i = 0; i < steps && !shared_.stop; ++i) {
        if (session_.Failed()) {
            if (!session_.InSavepoint()) break;
            session_.RollbackToSavepoint();
            continue;
        }
        const double dice = rng_.Fraction();
        if (dice < 0.10)
            session_.Savepoint();
        else if (dice < 0.20 && session_.InSavepoint())
            rng_.Chance(0.6) ? session_.RollbackToSavepoint() : session_.ReleaseSavepoint();
        else if (dice < 0.22)
            session_.Fail();
        else if (dice < 0.26)
            session_.Pop(QueueToRead(), rng_.Between(1, 10));
        else if (dice < 0.29)
            Brink();
        else if (dice < 0.32)
            support::Pause(rng_.Between(0, 40) * support::kMillisecond);  // time to be killed, or to lose a lease
        else
            Anything();
    }

    const double end = rng_.Fraction();
    if (session_.Failed() || end < 0.18)
        session_.Rollback();
    else if (end < 0.22)
        session_.Cut(false);
    else if (end < 0.23)
        session_.Cut(true);
    else if (end < 0.29 && shared_.prepares)
        session_.Prepare();
    else
        session_.Commit();
    Forget();
}

}  // namespace torture
