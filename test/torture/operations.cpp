// Session's operations on queues. What a request may have done is written into the journal before it is sent.
#include <algorithm>
#include <cmath>

#include "../support/rng.hpp"
#include "payload.hpp"
#include "statement.hpp"

namespace torture {

using support::ArrayLiteral;
using support::Now;
using support::Param;

namespace {

constexpr const char* kColumns =
    "r.msg_id, r.read_ct, r.receipt, (extract(epoch FROM r.last_read_at) * 1000000)::bigint,"
    " (extract(epoch FROM r.vt) * 1000000)::bigint, r.priority, r.message, r.headers, r.group_key";

// How far a wall clock may have stepped before a row's times count as wrong.
constexpr Nanos kClockSlack = support::kSecond;
// How far vt may be from last_read_at plus what was asked for.
constexpr Nanos kVtSlack = 100 * support::kMillisecond;

Param Number(double value) { return std::to_string(value); }
Param KeyParam(std::uint32_t key) { return key == 0 ? std::nullopt : Param("key " + std::to_string(key)); }
Param Fence(bool fenced, std::int64_t receipt) { return fenced ? Param(std::to_string(receipt)) : std::nullopt; }

}  // namespace

// --- sends

// One of the newest keys: others use it at the same time.
std::uint32_t Session::AnyKey(std::uint64_t dice) {
    const std::uint32_t newest = dice % 4 == 0 ? ++shared_.next_key : shared_.next_key.load();
    return newest - static_cast<std::uint32_t>(dice / 4 % kKeysInUse);
}

void Session::WriteSend(std::uint16_t queue, std::uint64_t uid, const SendOptions& options, GroupNo group,
                        std::uint32_t key, Nanos instant) {
    const Nanos due = options.delay == 0   ? 0
                      : options.deliver_at ? instant
                                           : req_ + support::FromSeconds(options.delay);
    journal_.sends.push_back({uid, 0, tx_, queue, req_, req_, due, group, key});
}

std::int64_t Session::Send(std::uint16_t queue, const SendOptions& options) {
    const std::uint64_t uid = shared_.next_uid++;
    const Payload payload = Render(uid, options.priority, true);
    std::int64_t msg_id = 0;
    Run(Op::kSend, [&](support::Conn& conn) {
        const Nanos instant = Now() + support::FromSeconds(options.delay);
        const std::uint32_t key = options.keyed ? AnyKey(support::Mix(uid)) : 0;
        WriteSend(queue, uid, options, options.group, key, instant);
        const bool delayed = options.delay != 0;
        const auto rows = conn.Query(
            "SELECT queue.send($1, $2, $3, delay => $4, deliver_at => to_timestamp($5::float8), priority => $6,"
            " group_key => $7, dedup_key => $8)",
            {shared_.queues[queue].name, payload.signal ? Param() : Param(payload.message),
             payload.headers.empty() ? Param() : Param(payload.headers),
             delayed && !options.deliver_at ? Number(options.delay) : Param(),
             delayed && options.deliver_at
                 ? Number(static_cast<double>(instant + shared_.clock.server_minus_ours) / 1e9)
                 : Param(),
             std::to_string(options.priority), options.group == kNoGroup ? Param() : Param(GroupName(options.group)),
             KeyParam(key)});
        resp_ = Now();
        msg_id = rows.Int(0, 0);
        if (msg_id <= 0) Trouble("send answered " + std::to_string(msg_id));
        journal_.sends.back().resp = resp_;
        journal_.sends.back().msg_id = msg_id;
        ++tally_.Of(Op::kSend).messages;
        ++shared_.backlog;
    });
    return msg_id;
}

std::vector<std::int64_t> Session::SendBatch(std::uint16_t queue, int count, const SendOptions& options) {
    std::vector<std::uint64_t> uids;
    std::vector<std::string> messages, headers;
    for (int i = 0; i < count; ++i) {
        uids.push_back(shared_.next_uid++);
        Payload payload = Render(uids.back(), options.priority, false);
        messages.push_back(std::move(payload.message));
        headers.push_back(std::move(payload.headers));
    }
    // Either each has headers or none: an array has no gaps. Those without ask for a batch of its own.
    const bool with_headers = std::none_of(headers.begin(), headers.end(), [](auto& h) { return h.empty(); });
    if (!with_headers && std::any_of(headers.begin(), headers.end(), [](auto& h) { return !h.empty(); })) {
        std::vector<std::string> some, some_headers;
        std::vector<std::uint64_t> some_uids;
        for (std::size_t i = 0; i < headers.size(); ++i) {
            if (!headers[i].empty()) continue;
            some.push_back(std::move(messages[i]));
            some_uids.push_back(uids[i]);
        }
        messages.swap(some);
        uids.swap(some_uids);
    }
    std::vector<std::int64_t> ids;
    Run(Op::kSendBatch, [&](support::Conn& conn) {
        const std::size_t first = journal_.sends.size();
        std::string groups = "{";
        std::string keys = "{";
        for (const std::uint64_t uid : uids) {
            const GroupNo group = options.mixed ? AnyGroup(support::Mix(uid)) : options.group;
            const std::uint64_t dice = support::Mix(uid ^ 0x6b65);
            const std::uint32_t key = options.keyed && dice % 2 == 0 ? AnyKey(dice / 2) : 0;
            WriteSend(queue, uid, options, group, key, 0);
            const char* comma = groups.size() > 1 ? "," : "";
            groups += std::string(comma) + (group == kNoGroup ? "NULL" : '"' + GroupName(group) + '"');
            keys += std::string(comma) + (key == 0 ? "NULL" : '"' + *KeyParam(key) + '"');
        }
        groups += '}';
        keys += '}';
        const auto rows = conn.Query(
            "SELECT * FROM queue.send_batch($1, $2, $3, delay => $4, priority => $5, group_keys => $6,"
            " dedup_keys => $7)",
            {shared_.queues[queue].name, ArrayLiteral(messages), with_headers ? Param(ArrayLiteral(headers)) : Param(),
             options.delay != 0 ? Number(options.delay) : Param(), std::to_string(options.priority),
             options.mixed || options.group != kNoGroup ? Param(groups) : Param(),
             options.keyed ? Param(keys) : Param()});
        resp_ = Now();
        if (rows.Rows() != static_cast<int>(uids.size()))
            Trouble("send_batch of " + std::to_string(uids.size()) + " answered " + std::to_string(rows.Rows()));
        for (int i = 0; i < rows.Rows() && i < static_cast<int>(uids.size()); ++i) {
            auto& send = journal_.sends[first + static_cast<std::size_t>(i)];
            send.msg_id = rows.Int(i, 0);
            send.resp = resp_;
            ids.push_back(send.msg_id);
        }
        tally_.Of(Op::kSendBatch).messages += uids.size();
        shared_.backlog += static_cast<std::int64_t>(uids.size());
    });
    return ids;
}

// --- reads

// To be taken back when the answer arrives.
void Session::Blindly(std::uint16_t queue, bool removes, std::int64_t qty) {
    journal_.blinds.push_back({tx_, queue, removes, qty, req_});
}

std::vector<Lease> Session::TakeRows(const support::Result& rows, std::uint16_t queue, TakeKind kind, double asked,
                                     const ReadOptions& options) {
    if (kind != TakeKind::kPeek) journal_.blinds.pop_back();
    if (rows.Rows() > options.qty)
        Trouble("asked for " + std::to_string(options.qty) + " messages, got " + std::to_string(rows.Rows()));
    std::vector<Lease> leases;
    for (int i = 0; i < rows.Rows(); ++i) {
        Take take{};
        const auto message = rows.Text(i, 6);
        const auto headers = rows.Text(i, 7);
        take.uid = UidOf(message, headers);
        take.msg_id = rows.Int(i, 0);
        take.read_ct = static_cast<std::int32_t>(rows.Int(i, 1));
        take.receipt = rows.Int(i, 2);
        take.tx = tx_;
        take.queue = queue;
        take.kind = kind;
        take.intact =
            take.uid != 0 && Intact(take.uid, !rows.IsNull(i, 6), message, !rows.IsNull(i, 7), headers, rows.Int(i, 5));
        take.req = req_;
        take.resp = resp_;
        take.until = kNever;
        take.times_ok = true;
        if (kind == TakeKind::kRead) {
            const Nanos taken = shared_.clock.Ours(rows.Int(i, 3));
            take.until = shared_.clock.Ours(rows.Int(i, 4));
            take.times_ok = taken >= req_ - kClockSlack && taken <= resp_ + kClockSlack &&
                            std::abs(take.until - taken - support::FromSeconds(asked)) <= kVtSlack;
        }
        take.group = rows.IsNull(i, 8) ? kNoGroup : GroupNumber(rows.Text(i, 8));
        take.grouped = options.grouped.value_or(shared_.queues[queue].fifo);
        if (options.filter >= 0 && (rows.IsNull(i, 6) || Kind(take.uid) != options.filter))
            Trouble("a read with a filter got a message that doesn't match");
        journal_.takes.push_back(take);
        leases.push_back({queue, take.msg_id, take.receipt, take.read_ct});
    }
    return leases;
}

std::vector<Lease> Session::Read(std::uint16_t queue, const ReadOptions& options) {
    std::vector<Lease> leases;
    Run(Op::kRead, [&](support::Conn& conn) {
        Blindly(queue, false, options.qty);
        const auto rows =
            conn.Query(std::string("SELECT ") + kColumns + " FROM queue.read($1, $2, $3, $4, $5, $6) r",
                       {shared_.queues[queue].name, options.vt ? Number(*options.vt) : Param(),
                        std::to_string(options.qty), Number(options.wait),
                        options.filter >= 0 ? Param(R"({"k": )" + std::to_string(options.filter) + "}") : Param(),
                        options.grouped ? Param(*options.grouped ? "t" : "f") : Param()});
        resp_ = Now();
        leases = TakeRows(rows, queue, TakeKind::kRead, options.vt.value_or(kQueueVt), options);
        tally_.Of(Op::kRead).messages += leases.size();
    });
    return leases;
}

int Session::Pop(std::uint16_t queue, std::int64_t qty) {
    int popped = 0;
    Run(Op::kPop, [&](support::Conn& conn) {
        Blindly(queue, true, qty);
        const auto rows = conn.Query(std::string("SELECT ") + kColumns + " FROM queue.pop($1, $2) r",
                                     {shared_.queues[queue].name, std::to_string(qty)});
        resp_ = Now();
        popped = static_cast<int>(TakeRows(rows, queue, TakeKind::kPop, 0, {.qty = qty}).size());
        tally_.Of(Op::kPop).messages += static_cast<std::uint64_t>(popped);
        shared_.backlog -= popped;
    });
    return popped;
}

int Session::ReadAndDelete(std::uint16_t queue, std::int64_t qty) {
    int taken = 0;
    Run(Op::kReadAndDelete, [&](support::Conn& conn) {
        Blindly(queue, true, qty);
        const auto rows = conn.Query(std::string("SELECT ") + kColumns +
                                         ", queue.delete($1, r.msg_id, r.receipt) FROM queue.read($1, $2, $3) r",
                                     {shared_.queues[queue].name, Number(5), std::to_string(qty)});
        resp_ = Now();
        const auto leases = TakeRows(rows, queue, TakeKind::kRead, 5, {.qty = qty});
        for (const Lease& lease : leases) {
            WriteAct(ActKind::kDelete, lease, true);
            journal_.acts.back().resp = resp_;
            journal_.acts.back().answer = rows.Bool(taken, 9) ? Answer::kYes : Answer::kNo;
            ++taken;
        }
        tally_.Of(Op::kReadAndDelete).messages += leases.size();
        shared_.backlog -= taken;
    });
    return taken;
}

int Session::Peek(std::uint16_t queue, std::int64_t qty) {
    int seen = 0;
    Run(Op::kPeek, [&](support::Conn& conn) {
        const auto rows = conn.Query(std::string("SELECT ") + kColumns + " FROM queue.peek($1, $2) r",
                                     {shared_.queues[queue].name, std::to_string(qty)});
        resp_ = Now();
        seen = static_cast<int>(TakeRows(rows, queue, TakeKind::kPeek, 0, {.qty = qty}).size());
        tally_.Of(Op::kPeek).messages += static_cast<std::uint64_t>(seen);
    });
    return seen;
}

void Session::Wait(std::uint16_t queue, double seconds) {
    Run(Op::kWait, [&](support::Conn& conn) {
        conn.Query("CALL queue.wait($1, $2)", {shared_.queues[queue].name, Number(seconds)});
        resp_ = Now();
    });
}

// --- acks, nacks, heartbeats

void Session::WriteAct(ActKind kind, const Lease& lease, bool fenced) {
    journal_.acts.push_back(
        {lease.msg_id, fenced ? lease.receipt : 0, 0, tx_, lease.queue, kind, Answer::kUnknown, req_, req_, 0});
}

void Session::Do(ActKind kind, const std::vector<Lease>& leases, bool fenced, bool batch, double delay) {
    if (batch && kind != ActKind::kNack) {
        DoBatch(kind, leases, fenced);
        return;
    }
    for (const Lease& lease : leases) {
        if (failed_) break;
        DoOne(kind, lease, fenced, delay);
    }
}

void Session::DoOne(ActKind kind, const Lease& lease, bool fenced, double delay) {
    const Op op = kind == ActKind::kNack ? Op::kNack : kind == ActKind::kArchive ? Op::kArchive : Op::kDelete;
    Run(op, [&](support::Conn& conn) {
        WriteAct(kind, lease, fenced);
        std::vector<Param> params = {shared_.queues[lease.queue].name, std::to_string(lease.msg_id),
                                     Fence(fenced, lease.receipt)};
        const char* sql = "SELECT queue.delete($1, $2, $3)";
        if (kind == ActKind::kArchive) sql = "SELECT queue.archive($1, $2, $3)";
        if (kind == ActKind::kNack) {
            sql = "SELECT queue.nack($1, $2, $3, $4, $5)";
            params.push_back(delay < 0 ? Param() : Number(delay));
            params.push_back(lease.receipt % 4 == 0 ? Param("it failed") : Param());
        }
        const auto rows = conn.Query(sql, params);
        resp_ = Now();
        if (rows.Rows() != 1 || rows.IsNull(0, 0)) Trouble(std::string(sql) + " answered NULL");
        const bool done = rows.Bool(0, 0);
        Act& act = journal_.acts.back();
        act.resp = resp_;
        act.answer = done ? Answer::kYes : Answer::kNo;
        if (done && kind == ActKind::kNack && delay > 0) act.until = req_ + support::FromSeconds(delay);
        // Without a receipt it may have been somebody else's, later attempt.
        const Nanos backoff = ShortestBackoff(shared_.queues[lease.queue], lease.read_ct);
        if (done && kind == ActKind::kNack && delay < 0 && fenced && backoff > 0) act.until = req_ + backoff;
        Tally::Row& row = tally_.Of(op);
        ++(done ? row.messages : row.refused);
        if (done && Removes(kind)) --shared_.backlog;
    });
}

void Session::DoBatch(ActKind kind, const std::vector<Lease>& leases, bool fenced) {
    if (leases.empty()) return;
    const Op op = kind == ActKind::kArchive ? Op::kArchive : Op::kDelete;
    Run(op, [&](support::Conn& conn) {
        const std::size_t first = journal_.acts.size();
        std::vector<std::int64_t> ids, receipts;
        for (const Lease& lease : leases) {
            WriteAct(kind, lease, fenced);
            ids.push_back(lease.msg_id);
            receipts.push_back(lease.receipt);
        }
        const auto rows = conn.Query(kind == ActKind::kArchive ? "SELECT * FROM queue.archive_batch($1, $2, $3)"
                                                               : "SELECT * FROM queue.delete_batch($1, $2, $3)",
                                     {shared_.queues[leases.front().queue].name, ArrayLiteral(ids),
                                      fenced ? Param(ArrayLiteral(receipts)) : Param()});
        resp_ = Now();
        // The ids that were removed, in the order of the call.
        int next = 0;
        for (std::size_t i = first; i < journal_.acts.size(); ++i) {
            Act& act = journal_.acts[i];
            act.resp = resp_;
            const bool done = next < rows.Rows() && rows.Int(next, 0) == act.msg_id;
            if (done) ++next;
            act.answer = done ? Answer::kYes : Answer::kNo;
            ++(done ? tally_.Of(op).messages : tally_.Of(op).refused);
        }
        if (next != rows.Rows()) Trouble(std::string(Name(op)) + " as a batch answered ids that don't fit the call");
        shared_.backlog -= next;
    });
}

void Session::SetVtRows(const support::Result& rows, std::size_t first, double vt) {
    int next = 0;
    for (std::size_t i = first; i < journal_.acts.size(); ++i) {
        Act& act = journal_.acts[i];
        act.resp = resp_;
        const bool done = next < rows.Rows() && rows.Int(next, 0) == act.msg_id;
        act.answer = done ? Answer::kYes : Answer::kNo;
        ++(done ? tally_.Of(Op::kSetVt).messages : tally_.Of(Op::kSetVt).refused);
        if (!done) continue;
        act.got_receipt = rows.Int(next, 1);
        act.until = shared_.clock.Ours(rows.Int(next, 2));
        const Nanos asked = support::FromSeconds(vt);
        if (act.until < req_ + asked - kClockSlack || act.until > resp_ + asked + kClockSlack)
            Trouble("set_vt answered a vt that is " + std::to_string(support::ToSeconds(act.until - req_)) +
                    " s after the call, asked for " + std::to_string(vt));
        ++next;
    }
    if (next != rows.Rows()) Trouble("set_vt answered messages that don't fit the call");
}

void Session::SetVt(const std::vector<Lease>& leases, double vt, bool fenced, bool batch) {
    static const std::string kFrom = "SELECT msg_id, receipt, (extract(epoch FROM vt) * 1000000)::bigint FROM ";
    if (batch && !leases.empty()) {
        Run(Op::kSetVt, [&](support::Conn& conn) {
            const std::size_t first = journal_.acts.size();
            std::vector<std::int64_t> ids, receipts;
            for (const Lease& lease : leases) {
                WriteAct(ActKind::kSetVt, lease, fenced);
                ids.push_back(lease.msg_id);
                receipts.push_back(lease.receipt);
            }
            const auto rows = conn.Query(kFrom + "queue.set_vt_batch($1, $2, $3, $4)",
                                         {shared_.queues[leases.front().queue].name, ArrayLiteral(ids), Number(vt),
                                          fenced ? Param(ArrayLiteral(receipts)) : Param()});
            resp_ = Now();
            SetVtRows(rows, first, vt);
        });
        return;
    }
    for (const Lease& lease : leases) {
        if (failed_) break;
        Run(Op::kSetVt, [&](support::Conn& conn) {
            const std::size_t first = journal_.acts.size();
            WriteAct(ActKind::kSetVt, lease, fenced);
            const auto rows = conn.Query(kFrom + "queue.set_vt($1, $2, $3, $4)",
                                         {shared_.queues[lease.queue].name, std::to_string(lease.msg_id), Number(vt),
                                          Fence(fenced, lease.receipt)});
            resp_ = Now();
            SetVtRows(rows, first, vt);
        });
    }
}

void Session::SqlDelete(std::uint16_t queue, std::int64_t msg_id) {
    Run(Op::kSqlDelete, [&](support::Conn& conn) {
        WriteAct(ActKind::kSqlDelete, {queue, msg_id, 0}, false);
        const auto rows =
            conn.Query("DELETE FROM queue." + support::QuoteIdentifier("q_" + shared_.queues[queue].name) +
                           " WHERE msg_id = $1 RETURNING msg_id",
                       {std::to_string(msg_id)});
        resp_ = Now();
        Act& act = journal_.acts.back();
        act.resp = resp_;
        act.answer = rows.Rows() > 0 ? Answer::kYes : Answer::kNo;
        if (rows.Rows() > 1) Trouble("a plain DELETE of one id removed " + std::to_string(rows.Rows()) + " rows");
        ++(rows.Rows() > 0 ? tally_.Of(Op::kSqlDelete).messages : tally_.Of(Op::kSqlDelete).refused);
        shared_.backlog -= rows.Rows();
    });
}

// Answers nobody but the journal: what has come back is what our transaction has stored, and nobody else has seen yet.
void Session::Redrive(std::int64_t qty) {
    Run(Op::kRedrive, [&](support::Conn& conn) {
        const auto moved = conn.Query("SELECT queue.redrive($1, qty => $2)", {kDeadQueue, std::to_string(qty)});
        resp_ = Now();
        std::int64_t found = 0;
        for (std::size_t i = 0; i < shared_.queues.size(); ++i) {
            const auto queue = static_cast<std::uint16_t>(i);
            if (shared_.queues[queue].max_attempts == 0) continue;
            const auto rows =
                conn.Query("SELECT msg_id, coalesce(message -> 'u', headers -> 'u')::bigint, group_key FROM queue." +
                           support::QuoteIdentifier("q_" + shared_.queues[queue].name) +
                           " WHERE xmin = pg_current_xact_id()::xid ORDER BY msg_id");
            found += rows.Rows();
            for (int row = 0; row < rows.Rows(); ++row) {
                const GroupNo group = rows.IsNull(row, 2) ? kNoGroup : GroupNumber(rows.Text(row, 2));
                journal_.sends.push_back({static_cast<std::uint64_t>(rows.Int(row, 1)), rows.Int(row, 0), tx_, queue,
                                          req_, resp_, 0, group, 0, true});
            }
        }
        tally_.Of(Op::kRedrive).messages += static_cast<std::uint64_t>(found);
        if (found != moved.Int(0, 0))
            Trouble("redrive answered " + std::to_string(moved.Int(0, 0)) + " and stored " + std::to_string(found));
    });
}

void Session::Fail() {
    Run(Op::kMistake, [&](support::Conn& conn) {
        conn.Query("SELECT 1 / 0");
        resp_ = Now();
    });
}

}  // namespace torture
