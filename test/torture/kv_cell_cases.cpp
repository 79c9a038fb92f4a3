// Journals about counters and locks for the self-test: with a fault in each, and odd but right ones.
#include "story.hpp"

namespace torture {

namespace {

constexpr Answer kYes = Answer::kYes;
constexpr Answer kNo = Answer::kNo;
constexpr Answer kUnknown = Answer::kUnknown;
constexpr std::uint32_t kOn = 0, kOff = 1;  // counters by synchronous_commit

Nanos T(int ms) { return Story::T(ms); }

void Incr(Story& s, std::uint32_t counter, std::int64_t sum, TxId tx, int req, int resp) {
    s.j.kv.increments.push_back({counter, 1, sum, counter == kOn, tx, T(req), T(resp)});
}
void Incr(Story& s, std::uint32_t counter, std::int64_t sum, int req, int resp) {
    Incr(s, counter, sum, s.Auto(req, resp), req, resp);
}
void Look(Story& s, std::uint32_t counter, std::int64_t value, int at, bool last = false) {
    s.j.kv.looks.push_back({counter, value, last, T(at), T(at + 1)});
}

void Lock(Story& s, LockKind kind, std::int64_t token, int ttl, Answer answer, int req, int resp) {
    s.j.kv.lock_calls.push_back({0, kind, token, T(ttl), answer, T(req), T(resp)});
}
void Grant(Story& s, std::int64_t token, int ttl, int req, int resp) {
    Lock(s, LockKind::kGrant, token, ttl, kYes, req, resp);
}

std::vector<Case> Counters() {
    return {
        {"a counter forgot an increment", Fault::kCounterLost,
         [](Story& s) {
             Incr(s, kOn, 1, 0, 1);
             Incr(s, kOn, 2, 2, 3);
             Look(s, kOn, 1, 10);
         }},
        {"a counter undone by a rollback", Fault::kCounterLost,
         [](Story& s) {
             Incr(s, kOn, 1, s.RolledBack(0, 5, 6), 1, 2);
             Look(s, kOn, 0, 10, true);
         }},
        {"a flushed increment lost in a crash", Fault::kCounterLost,
         [](Story& s) {
             Incr(s, kOn, 1, 0, 1);
             s.Crash(10, 20);
             Look(s, kOn, 0, 30);
         }},
        {"an increment lost in a crash though a later one of another counter was flushed", Fault::kCounterLost,
         [](Story& s) {
             Incr(s, kOff, 1, 0, 1);
             Incr(s, kOn, 1, 2, 3);
             s.Crash(10, 20);
             Look(s, kOff, 0, 30);
         }},
        {"an increment lost after the crash", Fault::kCounterLost,
         [](Story& s) {
             s.Crash(10, 20);
             Incr(s, kOff, 1, 30, 31);
             Look(s, kOff, 0, 40, true);
         }},
        {"more is missing at the end than was ever unanswered", Fault::kCounterLost,
         [](Story& s) {
             Incr(s, kOn, 1, 0, 5);
             Incr(s, kOn, 1, 0, 5);
             Look(s, kOn, 1, 10, true);
         }},
        {"a counter forgot the earlier round", Fault::kCounterLost,
         [](Story& s) {
             s.history.counters[kOn] = 7;
             Incr(s, kOn, 1, 0, 1);
         }},
        {"a counter that counted twice", Fault::kCounterTooHigh,
         [](Story& s) {
             Incr(s, kOn, 1, 0, 1);
             Look(s, kOn, 2, 10, true);
         }},
        {"a sum above all requests until then", Fault::kCounterTooHigh,
         [](Story& s) {
             Incr(s, kOn, 2, 0, 1);
             Incr(s, kOn, 0, s.Unknown(5, 5, 6), 5, 7);
         }},
        {"two increments told one sum", Fault::kSumRepeated,
         [](Story& s) {
             Incr(s, kOn, 1, 0, 5);
             Incr(s, kOn, 1, 1, 6);
         }},
        {"the same over a crash", Fault::kSumRepeated,
         [](Story& s) {
             Incr(s, kOn, 1, 0, 1);
             s.Crash(10, 20);
             Incr(s, kOn, 1, 30, 31);
         }},
        {"increments counted in spite of all that befell them",
         {},
         [](Story& s) {
             Incr(s, kOn, 1, s.RolledBack(0, 5, 6), 1, 2);
             Incr(s, kOn, 2, s.Lost(0, 20), 3, 4);
             Incr(s, kOn, 0, s.Unknown(5, 5, 8), 5, 9);  // may have counted
             Look(s, kOn, 3, 15);
             s.Crash(30, 40);
             Incr(s, kOn, 4, 50, 51);
             Look(s, kOn, 4, 60, true);
         }},
        {"an unanswered increment that didn't count",
         {},
         [](Story& s) {
             Incr(s, kOn, 0, s.Unknown(5, 5, 8), 5, 9);
             Look(s, kOn, 0, 60, true);
         }},
        {"increments that a crash may take back, and their sums again",
         {},
         [](Story& s) {
             Incr(s, kOn, 1, 0, 1);
             Incr(s, kOff, 1, 2, 3);
             s.Crash(10, 20);
             Incr(s, kOff, 1, 30, 31);
             Look(s, kOff, 1, 40, true);
         }},
    };
}

std::vector<Case> Locks() {
    return {
        {"a lock with two holders", Fault::kTwoLockers,
         [](Story& s) {
             Grant(s, 1, 1000, 0, 1);
             Grant(s, 2, 1000, 10, 11);
         }},
        {"a lock with two holders, the second for a moment only", Fault::kTwoLockers,
         [](Story& s) {
             Grant(s, 1, 1000, 0, 1);
             Grant(s, 2, 3, 10, 15);
         }},
        {"a lock granted again after a crash", Fault::kTwoLockers,
         [](Story& s) {
             Grant(s, 1, 1000, 0, 1);
             s.Crash(10, 20);
             Grant(s, 2, 1000, 30, 31);
         }},
        {"granted in spite of a renewal", Fault::kTwoLockers,
         [](Story& s) {
             Grant(s, 1, 10, 0, 1);
             Lock(s, LockKind::kRenew, 1, 1000, kYes, 5, 6);
             Grant(s, 2, 10, 20, 21);
         }},
        {"granted after the unlock with another token", Fault::kTwoLockers,
         [](Story& s) {
             Grant(s, 2, 1000, 0, 1);
             Lock(s, LockKind::kUnlock, 1, 0, kNo, 5, 6);
             Grant(s, 3, 10, 20, 21);
         }},
        {"a token again", Fault::kTokenOrder,
         [](Story& s) {
             Grant(s, 1, 5, 0, 1);
             s.Crash(10, 20);
             Grant(s, 1, 5, 30, 31);
         }},
        {"a token below an earlier one", Fault::kTokenOrder,
         [](Story& s) {
             Grant(s, 2, 5, 0, 1);
             Grant(s, 1, 5, 10, 11);
         }},
        {"a token below an earlier one, asked for before it", Fault::kTokenOrder,
         [](Story& s) {
             Grant(s, 2, 5, 3, 4);
             Grant(s, 1, 1000, 0, 50);
         }},
        {"a token below those of an earlier round", Fault::kTokenOrder,
         [](Story& s) {
             s.history.tokens[0] = 9;
             Grant(s, 8, 5, 0, 1);
         }},
        {"refused though nobody has it", Fault::kFreeLockRefused,
         [](Story& s) {
             Grant(s, 1, 5, 0, 1);
             Lock(s, LockKind::kGrant, 0, 5, kNo, 20, 21);
         }},
        {"refused though it was given back", Fault::kFreeLockRefused,
         [](Story& s) {
             Grant(s, 1, 1000, 0, 1);
             Lock(s, LockKind::kUnlock, 1, 0, kYes, 5, 6);
             Lock(s, LockKind::kGrant, 0, 5, kNo, 20, 21);
         }},
        {"renewed when it was over", Fault::kLockOverAccepted,
         [](Story& s) {
             Grant(s, 1, 5, 0, 1);
             Lock(s, LockKind::kRenew, 1, 5, kYes, 20, 21);
         }},
        {"asserted when another one had it", Fault::kLockOverAccepted,
         [](Story& s) {
             Grant(s, 1, 1000, 0, 1);
             Lock(s, LockKind::kUnlock, 1, 0, kUnknown, 5, 6);
             Grant(s, 2, 1000, 10, 11);
             Lock(s, LockKind::kAssert, 1, 0, kYes, 20, 21);
         }},
        {"unlocked twice", Fault::kLockOverAccepted,
         [](Story& s) {
             Grant(s, 1, 1000, 0, 1);
             Lock(s, LockKind::kUnlock, 1, 0, kYes, 5, 6);
             Lock(s, LockKind::kUnlock, 1, 0, kYes, 7, 8);
         }},
        {"an assertion refused to the holder", Fault::kLockHeldRefused,
         [](Story& s) {
             Grant(s, 1, 1000, 0, 1);
             Lock(s, LockKind::kAssert, 1, 0, kNo, 5, 6);
         }},
        {"a renewal refused after a crash", Fault::kLockHeldRefused,
         [](Story& s) {
             Grant(s, 1, 1000, 0, 1);
             s.Crash(10, 20);
             Lock(s, LockKind::kRenew, 1, 5, kNo, 30, 31);
         }},
        {"locks that run out, are given back, shortened, lost from sight",
         {},
         [](Story& s) {
             Grant(s, 1, 5, 0, 1);
             Grant(s, 2, 1000, 6, 7);
             Lock(s, LockKind::kUnlock, 2, 0, kYes, 10, 15);
             Grant(s, 3, 1000, 11, 12);
             Lock(s, LockKind::kRenew, 3, 5, kYes, 20, 21);
             Grant(s, 4, 1000, 23, 30);
             Lock(s, LockKind::kUnlock, 4, 0, kUnknown, 40, 41);
             Lock(s, LockKind::kGrant, 0, 1000, kUnknown, 45, 46);
             Lock(s, LockKind::kGrant, 0, 1000, kNo, 50, 51);
             Lock(s, LockKind::kAssert, 1, 0, kNo, 60, 61);
         }},
        {"a wait that began before the holder's",
         {},
         [](Story& s) {
             Grant(s, 1, 20, 10, 11);
             Grant(s, 2, 1000, 0, 31);
         }},
    };
}

}  // namespace

std::vector<Case> CounterAndLockCases() {
    std::vector<Case> all = Counters();
    for (Case& one : Locks()) all.push_back(std::move(one));
    return all;
}

}  // namespace torture
