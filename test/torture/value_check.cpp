#include "value_check.hpp"

#include <algorithm>
#include <array>

namespace torture {

namespace {

std::string Seconds(Nanos at) { return at == kNever ? "?" : std::to_string(support::ToSeconds(at)); }

bool Creates(WriteKind kind) { return !Removes(kind); }

}  // namespace

void ValueCheck::Run(History& history) {
    Collect();
    CheckVersions(history);
    CollectSights();
    for (const Sight& sight : sights_) CheckSight(sight);
    CheckLinks();
    CheckCreations();
    CheckWriters();
}

void ValueCheck::Collect() {
    for (const KeyWrite* write : v_.writes) {
        const Fate& fate = c_.fates.Of(write->tx);
        if (write->uid != kAbsent) source_[write->uid] = write;
        if (write->answer == Answer::kNo) continue;
        if (Removes(write->kind)) removals_.push_back(write);
        if (fate.outcome == Outcome::kRolledBack && write->answer == Answer::kYes) ++c_.coverage.values_rolled_back;
        if (fate.outcome != Outcome::kCommitted || write->answer != Answer::kYes) continue;
        ++c_.coverage.values_committed;
        committed_.push_back({write->req, fate.end_resp});
    }
    std::sort(removals_.begin(), removals_.end(), [](auto* a, auto* b) { return a->req < b->req; });
    std::sort(committed_.begin(), committed_.end(), [](auto& a, auto& b) { return a.req < b.req; });
    for (std::size_t i = committed_.size(); i-- > 1;)
        committed_[i - 1].end_resp = std::min(committed_[i - 1].end_resp, committed_[i].end_resp);
}

void ValueCheck::CheckVersions(History& history) {
    std::unordered_map<std::uint64_t, std::int64_t> of_value;
    const auto learn = [&](std::uint64_t uid, std::int64_t version) {
        if (uid == kAbsent || uid == kGarbled || version == 0) return;
        const std::uint64_t first = of_version_.emplace(version, uid).first->second;
        const std::int64_t told = of_value.emplace(uid, version).first->second;
        if (first != uid || told != version)
            Report(Fault::kVersionRepeated, "version " + std::to_string(version) + " is that of value " +
                                                std::to_string(uid) + ", which also has " + std::to_string(told) +
                                                ", and of value " + std::to_string(first));
    };
    for (const KeyWrite* write : v_.writes)
        if (write->answer == Answer::kYes) learn(write->uid, write->version);
    for (const Reading* reading : v_.readings) learn(reading->uid, reading->version);
    for (const auto& [version, uid] : of_version_)
        if (!history.versions.emplace(key_, version).second)
            Report(Fault::kVersionRepeated, "version " + std::to_string(version) + " was seen in an earlier round");
}

// The state that a change told to have found.
std::uint64_t ValueCheck::Predecessor(const KeyWrite& write) const {
    const bool yes = write.answer == Answer::kYes;
    switch (write.kind) {
        case WriteKind::kGetSet:
            return yes ? write.old_uid : kUnseen;
        case WriteKind::kTake:
            return yes ? write.old_uid : kAbsent;
        case WriteKind::kIfAbsent:
            return yes ? kAbsent : kUnseen;
        case WriteKind::kIfPresent:
        case WriteKind::kDelete:
            return yes ? kUnseen : kAbsent;
        case WriteKind::kCas: {
            if (!yes) return kUnseen;
            if (write.named == 0) return kAbsent;
            const auto found = of_version_.find(write.named);
            return found == of_version_.end() ? kUnseen : found->second;
        }
        default:
            return kUnseen;
    }
}

void ValueCheck::CollectSights() {
    for (const Reading* reading : v_.readings)
        sights_.push_back({reading->uid, reading->tx, reading->as_of, reading->resp, "get"});
    for (const KeyWrite* write : v_.writes) {
        if (write->answer == Answer::kUnknown) continue;
        const std::uint64_t uid = Predecessor(*write);
        if (uid == kUnseen) continue;
        ++c_.coverage.links;
        sights_.push_back({uid, write->tx, write->req, write->resp, "change"});
    }
}

// Whether a change that began after that time was committed before somebody looked.
bool ValueCheck::Replaced(Nanos since, Nanos as_of) const {
    if (since == kNever) return false;
    const auto next = std::upper_bound(committed_.begin(), committed_.end(), since,
                                       [](Nanos at, const Committed& one) { return at < one.req; });
    return next != committed_.end() && next->end_resp < as_of;
}

void ValueCheck::CheckSight(const Sight& sight) {
    ++c_.coverage.states_seen;
    if (sight.uid == kAbsent) {
        CheckAbsent(sight);
        return;
    }
    const std::string text = std::string(sight.what) + " [" + Seconds(sight.as_of) + " .. " + Seconds(sight.resp) +
                             "] found value " + std::to_string(sight.uid);
    if (sight.uid == kGarbled) {
        Report(Fault::kValueDamaged, std::string(sight.what) + " at " + Seconds(sight.resp) + " found other bytes");
        return;
    }
    const auto found = source_.find(sight.uid);
    if (found == source_.end()) {
        Report(Fault::kValuePhantom, text + ", which nobody stored under this key");
        return;
    }
    const KeyWrite& source = *found->second;
    const Fate& fate = c_.fates.Of(source.tx);
    if (fate.root == c_.fates.Of(sight.tx).root) return;
    const std::string stored = text + ", stored [" + Seconds(source.req) + " .. " + Seconds(source.resp) +
                               "], its transaction ended [" + Seconds(fate.end_req) + " .. " + Seconds(fate.end_resp) +
                               "]";
    if (fate.outcome == Outcome::kRolledBack || source.answer == Answer::kNo) {
        Report(Fault::kValuePhantom, stored + " by a rollback");
        return;
    }
    if (fate.end_req > sight.resp) Report(Fault::kValueUncommitted, stored);
    if (fate.outcome == Outcome::kUnknown)
        c_.evidence[fate.root].committed = "its value " + std::to_string(sight.uid) + " was seen";
    if (Replaced(fate.end_resp, sight.as_of)) Report(Fault::kValueLost, stored + ", though it was replaced meanwhile");
}

// Nothing was there: from the beginning, or by a removal that nobody can prove to be over.
void ValueCheck::CheckAbsent(const Sight& sight) {
    if (!Replaced(-1, sight.as_of)) return;
    const TxId root = c_.fates.Of(sight.tx).root;
    auto at = std::lower_bound(removals_.begin(), removals_.end(), sight.resp,
                               [](const KeyWrite* write, Nanos resp) { return write->req < resp; });
    while (at != removals_.begin()) {
        const Fate& fate = c_.fates.Of((*--at)->tx);
        if (fate.root == root) return;
        if (fate.outcome == Outcome::kRolledBack || fate.end_req > sight.resp) continue;
        if (!Replaced(fate.end_resp, sight.as_of)) return;
    }
    Report(Fault::kValueLost, std::string(sight.what) + " [" + Seconds(sight.as_of) + " .. " + Seconds(sight.resp) +
                                  "] found nothing, and no removal explains that");
}

void ValueCheck::CheckLinks() {
    std::unordered_map<std::uint64_t, const KeyWrite*> taken;
    std::unordered_map<std::int64_t, const KeyWrite*> named;
    const auto link = [&](auto& map, auto state, const KeyWrite* write, const char* what) {
        const auto [first, added] = map.emplace(state, write);
        if (!added)
            Report(Fault::kValueTwice, std::string(what) + std::to_string(state) + " was replaced at " +
                                           Seconds(first->second->resp) + " and at " + Seconds(write->resp));
    };
    for (const KeyWrite* write : v_.writes) {
        if (write->answer != Answer::kYes || c_.fates.Of(write->tx).outcome != Outcome::kCommitted) continue;
        if (write->kind == WriteKind::kCas && write->named != 0) link(named, write->named, write, "version ");
        const std::uint64_t uid = Predecessor(*write);
        if (uid != kUnseen && uid != kAbsent && uid != kGarbled) link(taken, uid, write, "value ");
    }
}

// A key that nobody has removed comes into being once.
void ValueCheck::CheckCreations() {
    std::int64_t created = 0, removed = 0;
    for (const KeyWrite* write : v_.writes)
        if (Creates(write->kind) && write->answer == Answer::kYes &&
            c_.fates.Of(write->tx).outcome == Outcome::kCommitted && Predecessor(*write) == kAbsent)
            ++created;
    for (const KeyWrite* write : removals_)
        if (c_.fates.Of(write->tx).outcome != Outcome::kRolledBack) ++removed;
    if (created > removed + 1)
        Report(Fault::kValueTwice, "came into being " + std::to_string(created) + " times, and was removed " +
                                       std::to_string(removed) + " times");
}

void ValueCheck::CheckWriters() {
    struct Hold {
        Nanos start, end;
        TxId root;
    };
    std::vector<Hold> holds;
    for (const KeyWrite* write : v_.writes) {
        if (write->answer != Answer::kYes) continue;
        const Fate& fate = c_.fates.Of(write->tx);
        if (fate.end_req > write->resp) holds.push_back({write->resp, fate.end_req, fate.root});
    }
    std::sort(holds.begin(), holds.end(), [](const Hold& a, const Hold& b) { return a.start < b.start; });
    for (std::size_t i = 0; i < holds.size(); ++i)
        for (std::size_t j = i + 1; j < holds.size() && holds[j].start < holds[i].end; ++j)
            if (holds[j].root != holds[i].root)
                Report(Fault::kTwoWriters, "changed at " + Seconds(holds[i].start) + " in a transaction that went on" +
                                               " until " + Seconds(holds[i].end) + ", and at " +
                                               Seconds(holds[j].start) + " in another one" +
                                               Story(holds[i].start, holds[j].start));
}

// The changes of the key, and the crashes, from one instant to another and shortly before.
std::string ValueCheck::Story(Nanos from, Nanos to) const {
    static constexpr std::array<const char*, 7> kKinds = {"set",    "set if absent", "set if present", "cas",
                                                          "getset", "take",          "delete"};
    std::vector<std::pair<Nanos, std::string>> lines;
    const auto add = [&](Nanos req, Nanos resp, const std::string& what) {
        if (resp < from - support::kSecond || req > to) return;
        lines.emplace_back(req, "\n      [" + Seconds(req) + " .. " + Seconds(resp) + "] " + what);
    };
    for (const KeyWrite* write : v_.writes) {
        const Fate& fate = c_.fates.Of(write->tx);
        const Tx& root = c_.journal.txs[fate.root];
        add(write->req, write->resp,
            std::string(kKinds[static_cast<std::size_t>(write->kind)]) + " of value " + std::to_string(write->uid) +
                " for " + std::to_string(write->old_uid) + ", version " + std::to_string(write->version) +
                (write->answer == Answer::kYes  ? ""
                 : write->answer == Answer::kNo ? ": no"
                                                : ": no answer") +
                "; tx " + std::to_string(fate.root) + (root.gid != 0 ? ", prepared" : "") +
                (fate.outcome == Outcome::kCommitted ? ", committed [" : ", not committed [") + Seconds(fate.end_req) +
                " .. " + Seconds(fate.end_resp) + "]");
    }
    for (const Crash& crash : c_.journal.crashes) add(crash.req, crash.end, "a crash");
    std::sort(lines.begin(), lines.end());
    std::string text;
    for (std::size_t i = lines.size() > 60 ? lines.size() - 60 : 0; i < lines.size(); ++i) text += lines[i].second;
    return text;
}

void ValueCheck::Report(Fault fault, const std::string& what) {
    c_.violations.push_back({fault, "key " + std::to_string(key_) + ": " + what});
}

}  // namespace torture
