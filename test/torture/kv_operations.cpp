// Session's operations on keys. As with queues, what a request may have done is written down before it is sent.
#include <stdexcept>

#include "kv_names.hpp"
#include "payload.hpp"
#include "statement.hpp"

namespace torture {

using support::Now;
using support::Param;

namespace {

std::string ValueOf(std::uint64_t uid) { return Render(uid, 0, false).message; }

std::uint64_t UidOfValue(const support::Result& rows, int column) {
    if (rows.Rows() == 0 || rows.IsNull(0, column)) return kAbsent;
    const std::string_view text = rows.Text(0, column);
    const std::uint64_t uid = UidOf(text, "");
    return uid != 0 && text == ValueOf(uid) ? uid : kGarbled;
}

Op OpOf(WriteKind kind) {
    switch (kind) {
        case WriteKind::kCas:
            return Op::kCas;
        case WriteKind::kGetSet:
            return Op::kGetSet;
        case WriteKind::kTake:
            return Op::kTake;
        case WriteKind::kDelete:
            return Op::kKeyDelete;
        default:
            return Op::kSet;
    }
}

// Parameters: key, store, value, version.
const char* SqlOf(WriteKind kind) {
    switch (kind) {
        case WriteKind::kSet:
            return "SELECT kv.set($1, $3, store => $2)";
        case WriteKind::kIfAbsent:
            return "SELECT kv.set($1, $3, mode => 'if_absent', store => $2)";
        case WriteKind::kIfPresent:
            return "SELECT kv.set($1, $3, mode => 'if_present', store => $2)";
        case WriteKind::kCas:
            return "SELECT kv.cas($1, $3, $4, store => $2)";
        case WriteKind::kGetSet:
            return "SELECT kv.getset($1, $3, store => $2)";
        case WriteKind::kTake:
            return "SELECT kv.take($1, store => $2)";
        default:
            return "SELECT kv.delete($1, store => $2)";
    }
}

}  // namespace

// --- counters

void Session::Incr(std::uint32_t counter, std::int64_t delta) {
    const bool flushed = IsFlushed(counter);
    Run(Op::kIncr, [&](support::Conn& conn) {
        journal_.kv.increments.push_back({counter, delta, 0, flushed, tx_, req_, req_});
        // The rest of a transaction, and its COMMIT, is as ever.
        static const std::string kOn = "SELECT kv.incr($1, $2, store => $3)";
        static const std::string kOff =
            "SELECT kv.incr($1, $2, store => $3) FROM set_config('synchronous_commit', 'off', true)";
        static const std::string kOffAndOn =
            "SELECT sum, set_config('synchronous_commit', 'on', true) FROM (" + kOff + " OFFSET 0) AS s(sum)";
        const auto rows = conn.Query(flushed           ? kOn
                                     : InTransaction() ? kOffAndOn
                                                       : kOff,
                                     {CounterName(counter), std::to_string(delta), kStore});
        resp_ = Now();
        Increment& increment = journal_.kv.increments.back();
        increment.resp = resp_;
        increment.sum = rows.Int(0, 0);
        if (increment.sum <= 0) Trouble("kv.incr answered " + std::to_string(increment.sum));
        ++tally_.Of(Op::kIncr).messages;
    });
}

std::int64_t Session::Look(std::uint32_t counter, bool last) {
    std::int64_t value = 0;
    Run(Op::kCounterLook, [&](support::Conn& conn) {
        const auto rows = conn.Query("SELECT kv.get($1, $2)::bigint", {CounterName(counter), kStore});
        resp_ = Now();
        value = rows.Int(0, 0);
        journal_.kv.looks.push_back({counter, value, last, req_, resp_});
        ++tally_.Of(Op::kCounterLook).messages;
    });
    return value;
}

// --- locks

Answer Session::LockAnswer(Op op, const std::string& sql, LockCall call) {
    Answer answer = Answer::kUnknown;
    Run(op, [&](support::Conn& conn) {
        call.answer = Answer::kUnknown;
        call.req = call.resp = req_;
        journal_.kv.lock_calls.push_back(call);
        LockCall& record = journal_.kv.lock_calls.back();
        std::vector<Param> params = {LockName(call.lock), std::to_string(call.token), kStore};
        if (call.ttl != 0) params.emplace_back(std::to_string(support::ToSeconds(call.ttl)));
        try {
            const auto rows = conn.Query(sql, params);
            resp_ = record.resp = Now();
            record.answer = answer = call.kind == LockKind::kAssert || rows.Bool(0, 0) ? Answer::kYes : Answer::kNo;
        } catch (const support::SqlError& error) {
            if (call.kind == LockKind::kAssert && error.State() == "55P03") record.answer = Answer::kNo;
            throw;
        }
        ++(answer == Answer::kYes ? tally_.Of(op).messages : tally_.Of(op).refused);
    });
    return answer;
}

std::int64_t Session::Lock(std::uint32_t lock, double ttl, double wait) {
    std::int64_t token = 0;
    Run(Op::kLock, [&](support::Conn& conn) {
        journal_.kv.lock_calls.push_back(
            {lock, LockKind::kGrant, 0, support::FromSeconds(ttl), Answer::kUnknown, req_, req_});
        const auto rows = conn.Query("SELECT kv.lock($1, $2, 'torture', $3, $4)",
                                     {LockName(lock), std::to_string(ttl), std::to_string(wait), kStore});
        resp_ = Now();
        token = rows.Int(0, 0);
        LockCall& record = journal_.kv.lock_calls.back();
        record.resp = resp_;
        record.token = token;
        record.answer = token != 0 ? Answer::kYes : Answer::kNo;
        ++(token != 0 ? tally_.Of(Op::kLock).messages : tally_.Of(Op::kLock).refused);
    });
    return token;
}

bool Session::Renew(std::uint32_t lock, std::int64_t token, double ttl) {
    return LockAnswer(Op::kRenew, "SELECT kv.renew($1, $2, $4, store => $3)",
                      {lock, LockKind::kRenew, token, support::FromSeconds(ttl), Answer::kUnknown, 0, 0}) ==
           Answer::kYes;
}

void Session::Unlock(std::uint32_t lock, std::int64_t token) {
    LockAnswer(Op::kUnlock, "SELECT kv.unlock($1, $2, store => $3)",
               {lock, LockKind::kUnlock, token, 0, Answer::kUnknown, 0, 0});
}

void Session::AssertLock(std::uint32_t lock, std::int64_t token) {
    LockAnswer(Op::kAssertLock, "SELECT kv.assert_lock($1, $2, store => $3)",
               {lock, LockKind::kAssert, token, 0, Answer::kUnknown, 0, 0});
}

// --- values

std::int64_t Session::Change(std::uint32_t key, WriteKind kind, std::int64_t version) {
    std::int64_t got = 0;
    Run(OpOf(kind), [&](support::Conn& conn) {
        const std::uint64_t uid = Removes(kind) ? kAbsent : std::uint64_t{shared_.next_value++};
        journal_.kv.writes.push_back({key, kind, uid, version, 0, kUnseen, Answer::kUnknown, tx_, req_, req_});
        std::vector<Param> params = {ValueName(key), kStore};
        if (uid != 0) params.emplace_back(ValueOf(uid));
        if (kind == WriteKind::kCas) params.emplace_back(std::to_string(version));
        const auto rows = conn.Query(SqlOf(kind), params);
        resp_ = Now();
        WriteRows(rows, kind);
        got = journal_.kv.writes.back().version;
        const bool done = journal_.kv.writes.back().answer == Answer::kYes;
        ++(done ? tally_.Of(OpOf(kind)).messages : tally_.Of(OpOf(kind)).refused);
    });
    return got;
}

void Session::WriteRows(const support::Result& rows, WriteKind kind) {
    KeyWrite& write = journal_.kv.writes.back();
    write.resp = resp_;
    bool done = true;
    if (kind == WriteKind::kGetSet || kind == WriteKind::kTake) {
        write.old_uid = UidOfValue(rows, 0);
        done = kind == WriteKind::kGetSet || write.old_uid != kAbsent;
    } else if (kind == WriteKind::kCas) {
        write.version = rows.Int(0, 0);
        done = !rows.IsNull(0, 0);
    } else {
        if (rows.IsNull(0, 0)) Trouble(std::string(SqlOf(kind)) + " answered NULL");
        done = rows.Bool(0, 0);
    }
    write.answer = done ? Answer::kYes : Answer::kNo;
    if (kind == WriteKind::kSet && !done) Trouble("a set without a condition was refused");
}

std::int64_t Session::Get(std::uint32_t key) {
    std::int64_t version = 0;
    Run(Op::kGet, [&](support::Conn& conn) {
        const auto rows = conn.Query("SELECT value, version FROM kv.get_entry($1, $2)", {ValueName(key), kStore});
        resp_ = Now();
        const std::uint64_t uid = UidOfValue(rows, 0);
        version = uid == kAbsent ? 0 : rows.Int(0, 1);
        const bool old = one_snapshot_ && InTransaction();
        journal_.kv.readings.push_back({key, uid, version, tx_, old ? journal_.txs[root_].begin : req_, req_, resp_});
        ++(version != 0 ? tally_.Of(Op::kGet).messages : tally_.Of(Op::kGet).refused);
    });
    return version;
}

void Session::Passing(const std::string& sql, const std::vector<Param>& params) {
    Run(Op::kPassing, [&](support::Conn& conn) {
        conn.Query(sql, params);
        resp_ = Now();
        ++tally_.Of(Op::kPassing).messages;
    });
}

}  // namespace torture
