#include "key_check.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_set>
#include <utility>

#include "message_check.hpp"

namespace torture {

namespace {

// Less what clocks and answers may take.
constexpr Nanos kWindow = 290 * support::kSecond;

class KeyCheck {
public:
    KeyCheck(std::vector<Send*> sends, const std::unordered_set<std::uint64_t>& seen, Context& context)
        : sends_(std::move(sends)), seen_(seen), c_(context) {}
    void Run();

private:
    const Fate& FateOf(const Send& send) const { return c_.fates.Of(send.tx); }
    bool Counts(const Send& send) const { return FateOf(send).outcome != Outcome::kRolledBack; }
    bool Committed(const Send& send) const { return FateOf(send).outcome == Outcome::kCommitted; }
    bool Seen(const Send& send) const { return seen_.count(send.uid) != 0; }
    Send* Storer(std::int64_t msg_id) const;
    bool Swallowed(const Send& gone, std::int64_t msg_id) const;
    void Report(Fault fault, const std::string& what);

    std::vector<Send*> sends_;  // by request
    const std::unordered_set<std::uint64_t>& seen_;
    Context& c_;
};

void KeyCheck::Run() {
    // What comes later may store a message again.
    while (sends_.back()->req > sends_.front()->req + kWindow) sends_.pop_back();
    std::set<std::int64_t> ids;
    for (const Send* send : sends_)
        if (send->msg_id != 0 && (Committed(*send) || (Counts(*send) && Seen(*send)))) ids.insert(send->msg_id);
    if (ids.size() > 1) {
        std::string text;
        for (const std::int64_t id : ids) text += " " + std::to_string(id);
        Report(Fault::kKeyDoubled, "led to messages" + text);
        return;
    }
    const std::int64_t id = ids.empty() ? 0 : *ids.begin();
    const Send* storer = Storer(id);
    if (storer == nullptr) return;
    bool freed = false;
    bool swallowed = false;
    for (Send* send : sends_) {
        if (send == storer) continue;
        send->repeat = Counts(*send) || (id != 0 && send->msg_id == id);
        if (send->repeat && Committed(*send)) ++c_.coverage.repeats;
        if (Counts(*send)) continue;
        freed = freed || (send->msg_id != 0 && send->msg_id != id && send->req < storer->req);
        swallowed = swallowed || (id != 0 && send->msg_id == id && !Seen(*storer) && Swallowed(*send, id));
    }
    if (id != 0) ++c_.coverage.keys;
    if (freed) ++c_.coverage.keys_freed;
    if (swallowed)
        Report(Fault::kKeySwallowed,
               "led a committed send to message " + std::to_string(id) + ", which was rolled back");
}

// Of those that were told this id, or nothing, whose message was seen; else who was certainly committed, and first.
Send* KeyCheck::Storer(std::int64_t msg_id) const {
    Send* storer = nullptr;
    const auto rank = [&](const Send& send) {
        return std::pair(Seen(send) ? 0 : Committed(send) ? 1 : 2, FateOf(send).end_req);
    };
    for (Send* send : sends_) {
        if (!Counts(*send) || (msg_id != 0 && send->msg_id != 0 && send->msg_id != msg_id)) continue;
        if (storer == nullptr || rank(*send) < rank(*storer)) storer = send;
    }
    return storer;
}

// Whether the message that this rolled-back send was told of can be nobody's but its own, or that of another one that
// was rolled back.
bool KeyCheck::Swallowed(const Send& gone, std::int64_t msg_id) const {
    // Its id may come again after a crash.
    for (const Crash& crash : c_.journal.crashes)
        if (crash.end >= gone.req && crash.req <= sends_.back()->resp) return false;
    return std::none_of(sends_.begin(), sends_.end(), [&](const Send* other) {
        if (!Counts(*other) || (other->msg_id != 0 && other->msg_id != msg_id)) return false;
        const Fate& fate = FateOf(*other);
        return fate.root == FateOf(gone).root ? other->req <= gone.req : fate.end_req < gone.resp;
    });
}

void KeyCheck::Report(Fault fault, const std::string& what) {
    const Send& first = *sends_.front();
    std::string text = c_.journal.queues[first.queue].name + ": key " + std::to_string(first.key) + " " + what;
    for (const Send* send : sends_) {
        const Fate& fate = FateOf(*send);
        const auto ms = [&](Nanos at) { return std::to_string(static_cast<double>(at - first.req) / 1e6); };
        text += "\n      [" + ms(send->req) + " .. " + ms(send->resp) + "] number " + std::to_string(send->uid) +
                ": message " + std::to_string(send->msg_id) + (Seen(*send) ? ", seen" : "") + "; tx " +
                std::to_string(fate.root) +
                (fate.outcome == Outcome::kCommitted    ? " committed"
                 : fate.outcome == Outcome::kRolledBack ? " rolled back"
                                                        : " unknown");
    }
    c_.violations.push_back({fault, std::move(text)});
}

}  // namespace

void CheckDedupKeys(Journal& journal, Context& context) {
    std::map<std::pair<std::uint16_t, std::uint32_t>, std::vector<Send*>> keys;
    for (Send& send : journal.sends)
        if (send.key != 0) keys[{send.queue, send.key}].push_back(&send);
    if (keys.empty()) return;
    std::unordered_set<std::uint64_t> seen;
    for (const Take& take : journal.takes) seen.insert(take.uid);
    for (const ArchiveRow& row : journal.archived) seen.insert(row.uid);
    for (const DeadRow& row : journal.dead) seen.insert(row.uid);
    for (auto& [key, sends] : keys) {
        std::sort(sends.begin(), sends.end(), [](const Send* a, const Send* b) { return a->req < b->req; });
        KeyCheck(std::move(sends), seen, context).Run();
    }
}

}  // namespace torture
