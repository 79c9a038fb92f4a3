#include "checker.hpp"

#include <algorithm>
#include <array>

#include "effect_check.hpp"
#include "group_check.hpp"
#include "key_check.hpp"
#include "kv_check.hpp"
#include "life_check.hpp"
#include "message_check.hpp"

namespace torture {

const char* Name(Fault fault) {
    static constexpr std::array<const char*, static_cast<std::size_t>(Fault::kCount)> kNames = {
        "committed message lost",
        "acked message came back",
        "phantom message",
        "seen before its commit",
        "leased to two at once",
        "delivered while being acked",
        "delivered too early",
        "damaged message",
        "mixed up",
        "message duplicated",
        "msg_id repeated",
        "receipt repeated",
        "receipt out of range",
        "receipt changed by a heartbeat",
        "read_ct did not grow",
        "read_ct too high",
        "stale receipt accepted",
        "valid receipt refused",
        "acked twice",
        "acted on a removed message",
        "stuck in the table",
        "archive wrong",
        "dead letter wrong",
        "redriven message wrong",
        "effects of a handler not once",
        "two messages for one key",
        "send swallowed by one that was rolled back",
        "transaction torn",
        "times of a row wrong",
        "group out of order",
        "group out in two places",
        "connection lost without a reason",
        "trouble",
        "counter lost increments",
        "counter too high",
        "sum answered twice",
        "locked by two at once",
        "token not above earlier ones",
        "free lock refused",
        "lock that was over accepted",
        "held lock refused",
        "committed change of a key lost",
        "phantom value",
        "value seen before its commit",
        "damaged value",
        "state of a key replaced twice",
        "version repeated",
        "two writers of a key at once",
        "key has two rows",
        "index broken",
        "expired rows left by a purge",
    };
    return kNames[static_cast<std::size_t>(fault)];
}

void Coverage::Add(const Coverage& other) {
    sends_committed += other.sends_committed;
    sends_rolled_back += other.sends_rolled_back;
    sends_unknown += other.sends_unknown;
    leases += other.leases;
    exclusive += other.exclusive;
    released += other.released;
    kept_over_crash += other.kept_over_crash;
    redelivered += other.redelivered;
    stale_refused += other.stale_refused;
    acked += other.acked;
    acks_rolled_back += other.acks_rolled_back;
    vanished_unlogged += other.vanished_unlogged;
    unknown_txs += other.unknown_txs;
    dead += other.dead;
    moved_on += other.moved_on;
    backoffs += other.backoffs;
    handled += other.handled;
    tried += other.tried;
    calls_ordered += other.calls_ordered;
    keys += other.keys;
    repeats += other.repeats;
    keys_freed += other.keys_freed;
    group_ordered += other.group_ordered;
    group_leases += other.group_leases;
    increments += other.increments;
    increments_undone += other.increments_undone;
    increments_unknown += other.increments_unknown;
    counters_exact += other.counters_exact;
    increments_taken_back += other.increments_taken_back;
    locks_granted += other.locks_granted;
    locks_refused += other.locks_refused;
    locks_over_crash += other.locks_over_crash;
    locks_answered += other.locks_answered;
    values_committed += other.values_committed;
    values_rolled_back += other.values_rolled_back;
    states_seen += other.states_seen;
    links += other.links;
    tables_audited += other.tables_audited;
}

namespace {

// A send whose answer was lost learns its id from the first who saw the message.
void LearnIds(Journal& journal, Context& context) {
    std::uint64_t top = journal.first_uid;
    for (const Send& send : journal.sends)
        if (!send.redriven) top = std::max(top, send.uid + 1);
    context.send_of.assign(top - journal.first_uid, nullptr);
    std::vector<Send*> send_of(top - journal.first_uid, nullptr);
    for (Send& send : journal.sends) {
        if (send.redriven)
            context.lives[send.uid].push_back(&send);
        else
            send_of[send.uid - journal.first_uid] = &send;
    }
    for (auto& [uid, lives] : context.lives)
        std::sort(lives.begin(), lives.end(), [](auto* a, auto* b) { return a->req < b->req; });
    for (std::size_t i = 0; i < send_of.size(); ++i) context.send_of[i] = send_of[i];
    const auto learn = [&](std::uint64_t uid, std::uint16_t queue, std::int64_t msg_id) {
        if (uid < journal.first_uid || uid >= top) return;
        Send* send = send_of[uid - journal.first_uid];
        if (send != nullptr && send->msg_id == 0 && context.SendOf(uid, queue, msg_id) == send) send->msg_id = msg_id;
    };
    for (const Take& take : journal.takes) learn(take.uid, take.queue, take.msg_id);
    for (const ArchiveRow& row : journal.archived) learn(row.uid, row.queue, row.msg_id);
    for (const DeadRow& row : journal.dead) learn(row.uid, row.queue, row.msg_id);
}

void CheckDuplicates(const Journal& journal, const Context& context, std::vector<Violation>& violations) {
    std::vector<bool> reported(context.send_of.size());
    for (const Take& take : journal.takes) {
        const Send* send = context.SendOf(take.uid, take.queue, take.msg_id);
        if (send == nullptr || send->msg_id == take.msg_id || reported[take.uid - journal.first_uid]) continue;
        reported[take.uid - journal.first_uid] = true;
        violations.push_back({Fault::kDuplicated, journal.queues[take.queue].name + ": number " +
                                                      std::to_string(take.uid) + " is message " +
                                                      std::to_string(send->msg_id) + " and message " +
                                                      std::to_string(take.msg_id)});
    }
}

void CheckIds(const Journal& journal, const Fates& fates, History& history, Verdict& verdict) {
    history.ids.resize(std::max(history.ids.size(), journal.queues.size()));
    for (const Send& send : journal.sends) {
        const Fate& fate = fates.Of(send.tx);
        if (fate.outcome == Outcome::kRolledBack)
            ++verdict.coverage.sends_rolled_back;
        else if (fate.outcome == Outcome::kUnknown)
            ++verdict.coverage.sends_unknown;
        if (fate.outcome != Outcome::kCommitted || send.msg_id == 0 || send.repeat) continue;
        ++verdict.coverage.sends_committed;
        if (send.msg_id < 1) {
            verdict.violations.push_back(
                {Fault::kTrouble, journal.queues[send.queue].name + ": msg_id " + std::to_string(send.msg_id)});
            continue;
        }
        auto& ids = history.ids[send.queue];
        const auto id = static_cast<std::size_t>(send.msg_id);
        if (id >= ids.size()) ids.resize(std::max(ids.size() * 2, id + 1));
        if (ids[id])
            verdict.violations.push_back({Fault::kIdRepeated, journal.queues[send.queue].name + ": two committed " +
                                                                  "sends were told id " + std::to_string(id)});
        ids[id] = true;
    }
}

void CheckReceipts(const Journal& journal, History& history, std::vector<Violation>& violations) {
    std::vector<std::int64_t> receipts;
    for (const Take& take : journal.takes)
        if (IsLease(take.kind)) receipts.push_back(take.receipt);
    std::sort(receipts.begin(), receipts.end());
    std::vector<std::int64_t> all;
    all.reserve(history.receipts.size() + receipts.size());
    std::merge(history.receipts.begin(), history.receipts.end(), receipts.begin(), receipts.end(),
               std::back_inserter(all));
    for (auto at = std::adjacent_find(all.begin(), all.end()); at != all.end();
         at = std::adjacent_find(at + 1, all.end())) {
        std::string text = "receipt " + std::to_string(*at) + " was given";
        for (const Take& take : journal.takes)
            if (IsLease(take.kind) && take.receipt == *at)
                text += " for " + journal.queues[take.queue].name + " " + std::to_string(take.msg_id) + ",";
        violations.push_back({Fault::kReceiptRepeated, text + " and perhaps in an earlier round"});
        if (violations.size() > 1000) break;
    }
    all.erase(std::unique(all.begin(), all.end()), all.end());
    history.receipts.swap(all);
}

// Groups the journal by message and checks each.
void CheckMessages(const Journal& journal, Context& context) {
    enum class Kind : std::uint8_t { kSend, kTake, kAct, kArchived, kDead, kLeftover };
    struct Entry {
        std::int64_t msg_id;
        std::uint16_t queue;
        Kind kind;
        std::uint32_t index;
    };
    std::vector<Entry> entries;
    const auto add = [&entries](const auto& list, Kind kind) {
        for (std::uint32_t i = 0; i < list.size(); ++i)
            if (list[i].msg_id != 0) entries.push_back({list[i].msg_id, list[i].queue, kind, i});
    };
    add(journal.sends, Kind::kSend);
    add(journal.takes, Kind::kTake);
    add(journal.acts, Kind::kAct);
    add(journal.archived, Kind::kArchived);
    add(journal.dead, Kind::kDead);
    add(journal.leftovers, Kind::kLeftover);
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
        return a.queue != b.queue ? a.queue < b.queue : a.msg_id < b.msg_id;
    });

    for (std::size_t from = 0; from < entries.size();) {
        MessageView message;
        message.queue = entries[from].queue;
        message.msg_id = entries[from].msg_id;
        std::size_t to = from;
        for (; to < entries.size() && entries[to].queue == message.queue && entries[to].msg_id == message.msg_id;
             ++to) {
            const std::uint32_t i = entries[to].index;
            switch (entries[to].kind) {
                case Kind::kSend:
                    message.sends.push_back(&journal.sends[i]);
                    break;
                case Kind::kTake:
                    message.takes.push_back(&journal.takes[i]);
                    break;
                case Kind::kAct:
                    message.acts.push_back(&journal.acts[i]);
                    break;
                case Kind::kArchived:
                    message.archived.push_back(&journal.archived[i]);
                    break;
                case Kind::kDead:
                    message.dead.push_back(&journal.dead[i]);
                    break;
                case Kind::kLeftover:
                    message.leftover = true;
                    break;
            }
        }
        MessageCheck(message, context).Run();
        from = to;
    }
}

// Committed, never acked, gone: unless a pop whose answer was lost took it.
void CheckMissing(const Journal& journal, const Context& context, std::vector<Violation>& violations) {
    for (std::size_t queue = 0; queue < journal.queues.size(); ++queue) {
        const auto& missing = context.missing[queue];
        if (static_cast<std::int64_t>(missing.size()) <= context.blind_pops[queue]) continue;
        std::string text = journal.queues[queue].name + ": " + std::to_string(missing.size()) +
                           " committed messages are gone, and lost answers of pops explain " +
                           std::to_string(context.blind_pops[queue]) + "; ids";
        for (std::size_t i = 0; i < missing.size() && i < 20; ++i) text += " " + std::to_string(missing[i].msg_id);
        for (const Missing& one : missing)
            if (!one.history.empty()) text += "\n    message " + std::to_string(one.msg_id) + "\n" + one.history;
        violations.push_back({Fault::kLost, text});
    }
}

}  // namespace

Verdict Check(Journal& journal, History& history) {
    Verdict verdict;
    for (const std::string& trouble : journal.troubles) verdict.violations.push_back({Fault::kTrouble, trouble});
    const Fates fates(journal, verdict.violations);
    Context context{journal, fates, verdict.violations, verdict.coverage, {}, {}, {}, {}, {}, {}, {}};
    LearnIds(journal, context);
    CheckDedupKeys(journal, context);
    CheckLives(context);
    CheckEchoes(context);

    context.blind_reqs.resize(journal.queues.size());
    context.blind_pops.resize(journal.queues.size());
    context.missing.resize(journal.queues.size());
    for (const Blind& blind : journal.blinds) {
        context.blind_reqs[blind.queue].push_back(blind.req);
        if (blind.removes && fates.Of(blind.tx).outcome != Outcome::kRolledBack)
            context.blind_pops[blind.queue] += blind.qty;
    }
    for (auto& reqs : context.blind_reqs) std::sort(reqs.begin(), reqs.end());

    CheckDuplicates(journal, context, verdict.violations);
    CheckIds(journal, fates, history, verdict);
    CheckReceipts(journal, history, verdict.violations);
    CheckMessages(journal, context);
    CheckMissing(journal, context, verdict.violations);
    CheckGroups(context);
    CheckKeys(context, history);
    for (const Send& send : journal.sends) {
        const Fate& fate = fates.Of(send.tx);
        if (send.msg_id != 0 || fate.outcome != Outcome::kUnknown || context.blind_pops[send.queue] != 0) continue;
        if (send.repeat) continue;
        if (context.lives.count(send.uid) != 0) {
            context.evidence[fate.root].committed = "number " + std::to_string(send.uid) + " was redriven";
            continue;
        }
        if (journal.queues[send.queue].unlogged && !journal.crashes.empty()) continue;
        context.evidence[fate.root].aborted = "number " + std::to_string(send.uid) + " never appeared";
    }
    for (const auto& [tx, evidence] : context.evidence) {
        ++verdict.coverage.unknown_txs;
        if (!evidence.committed.empty() && !evidence.aborted.empty())
            verdict.violations.push_back({Fault::kTorn, "transaction " + std::to_string(tx) +
                                                            ", whose COMMIT was not answered: " + evidence.committed +
                                                            ", but " + evidence.aborted});
    }
    return verdict;
}

}  // namespace torture
