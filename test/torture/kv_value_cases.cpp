// Journals about values for the self-test: with a fault in each, and odd but right ones.
#include "story.hpp"

namespace torture {

namespace {

constexpr Answer kYes = Answer::kYes;
constexpr Answer kNo = Answer::kNo;
constexpr Answer kUnknown = Answer::kUnknown;

Nanos T(int ms) { return Story::T(ms); }

// A change of key 0. Answers its record.
KeyWrite& Change(Story& s, WriteKind kind, std::uint64_t uid, Answer answer, TxId tx, int req, int resp) {
    s.j.kv.writes.push_back({0, kind, uid, 0, 0, kUnseen, answer, tx, T(req), T(resp)});
    return s.j.kv.writes.back();
}
KeyWrite& Change(Story& s, WriteKind kind, std::uint64_t uid, int req, int resp) {
    return Change(s, kind, uid, kYes, s.Auto(req, resp), req, resp);
}
void Get(Story& s, std::uint64_t uid, std::int64_t version, int at) {
    s.j.kv.readings.push_back({0, uid, version, s.Auto(at, at + 1), T(at), T(at), T(at + 1)});
}

std::vector<Case> Losses() {
    using enum WriteKind;
    return {
        {"a committed value is gone", Fault::kValueLost,
         [](Story& s) {
             Change(s, kSet, 1, 0, 1);
             Get(s, kAbsent, 0, 10);
         }},
        {"a committed value is gone after a crash", Fault::kValueLost,
         [](Story& s) {
             Change(s, kSet, 1, 0, 1);
             Change(s, kSet, 2, 2, 3);
             s.Crash(10, 20);
             Get(s, 1, 5, 30);
         }},
        {"an old value after its removal", Fault::kValueLost,
         [](Story& s) {
             Change(s, kSet, 1, 0, 1);
             Change(s, kTake, 0, 2, 3).old_uid = 1;
             Get(s, 1, 5, 10);
         }},
        {"made where something was", Fault::kValueLost,
         [](Story& s) {
             Change(s, kSet, 1, 0, 1);
             Change(s, kIfAbsent, 2, 10, 11);
         }},
        {"a removal that was rolled back", Fault::kValueLost,
         [](Story& s) {
             Change(s, kSet, 1, 0, 1);
             Change(s, kDelete, 0, kYes, s.RolledBack(2, 5, 6), 2, 3);
             Get(s, kAbsent, 0, 10);
         }},
        {"a value of a rolled-back transaction", Fault::kValuePhantom,
         [](Story& s) {
             Change(s, kSet, 1, kYes, s.RolledBack(0, 5, 6), 0, 1);
             Get(s, 1, 5, 10);
         }},
        {"a value of a refused cas", Fault::kValuePhantom,
         [](Story& s) {
             Change(s, kCas, 1, kNo, s.Auto(0, 1), 0, 1);
             Get(s, 1, 5, 10);
         }},
        {"a value of nobody", Fault::kValuePhantom, [](Story& s) { Get(s, 1, 5, 10); }},
        {"a value seen before its COMMIT", Fault::kValueUncommitted,
         [](Story& s) {
             Change(s, kSet, 1, kYes, s.Committed(0, 50, 51), 0, 1);
             Get(s, 1, 5, 10);
         }},
        {"a value of other bytes", Fault::kValueDamaged, [](Story& s) { Get(s, kGarbled, 5, 10); }},
        {"half a transaction, in a key and a queue", Fault::kTorn,
         [](Story& s) {
             const TxId tx = s.Unknown(0, 20, 21);
             s.Send(1, tx, 1, 2);
             Change(s, kSet, 1, kYes, tx, 3, 4);
             Get(s, 1, 5, 40);
         }},
    };
}

std::vector<Case> Chains() {
    using enum WriteKind;
    return {
        {"a value taken twice", Fault::kValueTwice,
         [](Story& s) {
             Change(s, kSet, 1, 0, 1);
             Change(s, kTake, 0, 10, 15).old_uid = 1;
             Change(s, kTake, 0, 11, 16).old_uid = 1;
         }},
        {"two cas of one version", Fault::kValueTwice,
         [](Story& s) {
             Change(s, kSet, 1, 0, 1);
             Change(s, kCas, 2, 10, 15).named = 5;
             Change(s, kCas, 3, 11, 16).named = 5;
         }},
        {"replaced and taken", Fault::kValueTwice,
         [](Story& s) {
             Change(s, kSet, 1, 0, 1);
             Get(s, 1, 5, 3);
             Change(s, kCas, 2, 10, 15).named = 5;
             Change(s, kTake, 0, 11, 16).old_uid = 1;
         }},
        {"made twice at once", Fault::kValueTwice,
         [](Story& s) {
             Change(s, kIfAbsent, 1, 10, 15);
             Change(s, kIfAbsent, 2, 11, 16);
         }},
        {"a version with two values", Fault::kVersionRepeated,
         [](Story& s) {
             Change(s, kSet, 1, 0, 1);
             Get(s, 1, 5, 2);
             Change(s, kCas, 2, 4, 6).version = 5;
         }},
        {"a version of an earlier round", Fault::kVersionRepeated,
         [](Story& s) {
             s.history.versions.emplace(0, 5);
             Change(s, kCas, 2, 4, 6).version = 5;
         }},
        {"two transactions that changed a key at once", Fault::kTwoWriters,
         [](Story& s) {
             Change(s, kSet, 1, kYes, s.Committed(0, 50, 51), 1, 2);
             Change(s, kSet, 2, kYes, s.Committed(0, 40, 41), 3, 4);
         }},
        {"two rows of a key", Fault::kKeyTwice,
         [](Story& s) {
             s.j.kv.audits.push_back({"t", 2, 1, 0, 0, ""});
         }},
        {"a value beside a counter", Fault::kKeyTwice,
         [](Story& s) {
             s.j.kv.audits.push_back({"t", 2, 2, 1, 0, ""});
         }},
        {"an index that misses a row", Fault::kIndexBroken,
         [](Story& s) {
             s.j.kv.audits.push_back({"t", 2, 2, 0, 0, "XX002"});
         }},
        {"expired after a purge", Fault::kNotPurged,
         [](Story& s) {
             s.j.kv.audits.push_back({"t", 2, 2, 0, 1, ""});
         }},
        {"a key's life",
         {},
         [](Story& s) {
             Change(s, kIfAbsent, 1, 0, 1);
             Get(s, 1, 5, 2);
             KeyWrite& cas = Change(s, kCas, 2, 4, 6);
             cas.named = 5;
             cas.version = 6;
             Change(s, kCas, 3, kNo, s.Auto(7, 8), 7, 8).named = 5;
             s.Crash(10, 20);
             Change(s, kTake, 0, kYes, s.RolledBack(30, 35, 36), 30, 31).old_uid = 2;
             Change(s, kGetSet, 4, 37, 38).old_uid = 2;
             Change(s, kDelete, 0, 40, 41);
             Change(s, kIfAbsent, 5, 42, 43);
             Get(s, 5, 9, 50);
             s.j.kv.audits.push_back({"t", 2, 2, 0, 0, ""});
         }},
        {"changes of unknown outcome, done and undone",
         {},
         [](Story& s) {
             Change(s, kSet, 1, 0, 1);
             Change(s, kSet, 2, kYes, s.Unknown(2, 10, 11), 3, 4);
             Get(s, 2, 6, 20);
             Change(s, kDelete, 0, kUnknown, s.Unknown(30, 30, 31), 30, 32);
             Get(s, 2, 6, 40);
         }},
        {"an old snapshot, and a transaction's own changes",
         {},
         [](Story& s) {
             Change(s, kSet, 1, 0, 1);
             const TxId tx = s.RolledBack(2, 60, 61);
             Change(s, kSet, 2, 10, 11);
             s.j.kv.readings.push_back({0, 1, 5, tx, T(2), T(20), T(21)});
             const TxId own = s.RolledBack(22, 60, 61);
             Change(s, kTake, 0, kYes, own, 23, 24).old_uid = 2;
             s.j.kv.readings.push_back({0, kAbsent, 0, own, T(25), T(25), T(26)});
             Get(s, 2, 6, 30);
         }},
    };
}

}  // namespace

std::vector<Case> ValueCases() {
    std::vector<Case> all = Losses();
    for (Case& one : Chains()) all.push_back(std::move(one));
    return all;
}

}  // namespace torture
