#include "kv_work.hpp"

#include "kv_names.hpp"

namespace torture {

namespace {

// Counters come into being that often.
constexpr Nanos kMoment = 300 * support::kMillisecond;
constexpr std::size_t kMostPast = 20;

}  // namespace

void KvWork::Step() {
    const double dice = rng_.Fraction();
    if (dice < 0.25)
        Count();
    else if (dice < 0.50)
        LockOrUnlock();
    else if (dice < 0.85)
        ReadOrWrite();
    else
        Pass();
}

// Much of one kind in a row: it is in the midst of this that most kills and crashes find a client.
void KvWork::Burst() {
    const bool counts = rng_.Chance(0.6);
    const auto key = static_cast<std::uint32_t>(rng_.Between(0, counts ? kLastingCounters - 1 : kValues - 1));
    const auto steps = rng_.Between(5, 50);
    std::int64_t version = counts ? 0 : session_.Get(key);
    for (std::int64_t i = 0; i < steps; ++i) {
        if (counts) {
            session_.Incr(key, 1);
        } else if (const std::int64_t next = session_.Change(key, WriteKind::kCas, version); next != 0) {
            version = next;
        } else {
            version = session_.Get(key);
        }
    }
}

void KvWork::BeforeCrash(Calm calm) {
    if (calm != Calm::kLocks) {
        const auto pair = 2 * static_cast<std::uint32_t>(rng_.Between(0, kLastingCounters / 2 - 1));
        session_.Incr(pair + (calm == Calm::kFlushed ? 0 : 1), 1);
        return;
    }
    // Long ones, so that they are still held when the server is there again.
    const double ttl = rng_.Uniform(2, 5);
    if (held_.empty() || rng_.Chance(0.4) || !session_.Renew(held_.back().lock, held_.back().token, ttl)) Acquire(ttl);
}

void KvWork::Acquire(double ttl) {
    const auto lock = static_cast<std::uint32_t>(rng_.Between(0, kLocks - 1));
    const double wait = rng_.Chance(0.7) ? 0 : rng_.Uniform(0.01, 0.1);
    if (const std::int64_t token = session_.Lock(lock, ttl, wait); token != 0) held_.push_back({lock, token});
}

void KvWork::Count() {
    auto counter = static_cast<std::uint32_t>(rng_.Between(0, kLastingCounters - 1));
    if (rng_.Chance(0.3))
        counter = static_cast<std::uint32_t>(kLastingCounters + 2 * (support::Now() / kMoment) + rng_.Between(0, 1));
    if (rng_.Chance(0.15))
        session_.Look(counter, false);
    else
        session_.Incr(counter, rng_.Chance(0.8) ? 1 : rng_.Between(2, 9));
}

void KvWork::LockOrUnlock() {
    if (held_.empty() || rng_.Chance(0.3)) {
        Acquire(rng_.Chance(0.5) ? rng_.Uniform(0.01, 0.1) : rng_.Uniform(0.1, 2));
        return;
    }
    if (!past_.empty() && rng_.Chance(0.15)) {
        const Holding& old = past_[static_cast<std::size_t>(rng_.Between(0, std::ssize(past_) - 1))];
        if (rng_.Chance(0.6))
            session_.Unlock(old.lock, old.token);
        else
            session_.Renew(old.lock, old.token, 0.5);
        return;
    }
    const auto at = rng_.Between(0, std::ssize(held_) - 1);
    const Holding one = held_[static_cast<std::size_t>(at)];
    const double dice = rng_.Fraction();
    // An assertion that fails ends the transaction, so most are made early.
    if (dice < 0.25) {
        session_.AssertLock(one.lock, one.token);
    } else if (dice < 0.5 && session_.Renew(one.lock, one.token, rng_.Uniform(0.02, 1.5))) {
        return;
    } else {
        held_.erase(held_.begin() + at);
        if (past_.size() == kMostPast) past_.erase(past_.begin());
        past_.push_back(one);
        if (dice > 0.6) session_.Unlock(one.lock, one.token);  // else it runs out
    }
}

void KvWork::ReadOrWrite() {
    const auto key = static_cast<std::uint32_t>(rng_.Between(0, kValues - 1));
    const double dice = rng_.Fraction();
    if (dice < 0.30) {
        session_.Get(key);
    } else if (dice < 0.55) {
        const std::int64_t version = session_.Get(key);
        if (session_.Failed()) return;
        if (rng_.Chance(0.2)) support::Pause(rng_.Between(0, 3) * support::kMillisecond);
        session_.Change(key, WriteKind::kCas, version);
    } else if (dice < 0.65) {
        session_.Change(key, WriteKind::kSet);
    } else if (dice < 0.75) {
        session_.Change(key, WriteKind::kIfAbsent);
    } else if (dice < 0.80) {
        session_.Change(key, WriteKind::kIfPresent);
    } else if (dice < 0.90) {
        session_.Change(key, WriteKind::kGetSet);
    } else if (dice < 0.96) {
        session_.Change(key, WriteKind::kTake);
    } else {
        session_.Change(key, WriteKind::kDelete);
    }
}

std::string KvWork::PassingKey(const char* kind) { return kind + std::to_string(rng_.Between(0, 30)); }

// Keys that nobody keeps account of: they expire, are evicted or lost, and only their tables must stay sound.
void KvWork::Pass() {
    const std::string store = kStores[static_cast<std::size_t>(rng_.Between(1, std::ssize(kStores) - 1))];
    const std::string key = PassingKey("key ");
    const std::string ttl = std::to_string(rng_.Uniform(0.01, 0.8));
    switch (rng_.Between(0, 9)) {
        case 0:
        case 1:
            session_.Passing("SELECT kv.set($1, 'v', ttl => $2, store => $3)", {key, ttl, store});
            break;
        case 2:
            session_.Passing("SELECT kv.set($1, 'w', ttl => $2, mode => 'if_absent', store => $3)", {key, ttl, store});
            break;
        case 3:
            session_.Passing("SELECT kv.set($1, 'x', keep_ttl => true, store => $2)", {key, store});
            break;
        case 4:
            session_.Passing("SELECT kv.touch($1, $2, $3)", {key, ttl, store});
            break;
        case 5:
            session_.Passing("SELECT kv.take($1, $2)", {key, store});
            break;
        case 6:  // of a key that may have a value: an error
            session_.Passing("SELECT kv.incr($1, ttl => $2, store => $3)",
                             {rng_.Chance(0.1) ? key : PassingKey("count "), ttl, store});
            break;
        case 7:  // of a key that may be a counter
            session_.Passing("SELECT kv.set($1, 'y', ttl => $2, store => $3)", {PassingKey("count "), ttl, store});
            break;
        case 8:
            session_.Passing("SELECT * FROM kv.rate_limit($1, 10, $2, store => $3)",
                             {PassingKey("limit "), ttl, store});
            break;
        default:
            session_.Passing("SELECT count(*) FROM kv.scan('key', store => $1)", {store});
    }
}

}  // namespace torture
