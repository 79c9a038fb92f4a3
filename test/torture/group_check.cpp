#include "group_check.hpp"

#include <algorithm>

#include "message_check.hpp"

namespace torture {

namespace {

bool OneCall(const Take& a, const Take& b) { return a.tx == b.tx && a.req == b.req; }
bool OneCall(const Send& a, const Send& b) { return a.tx == b.tx && a.req == b.req; }

// The messages of one group.
class GroupCheck {
public:
    GroupCheck(std::vector<const GroupMember*> members, Context& context);
    void Run();

private:
    struct Lease {
        const GroupMember* member;
        const Take* take;
        Nanos start, end;
    };

    void CheckOrder(const GroupMember& later, std::size_t before, const Take& take);
    bool MayBePassedOver(const GroupMember& earlier, const Take& take) const;
    bool HadToGoFirst(const GroupMember& earlier, const GroupMember& later, const Take& take) const;
    void CheckAlone(const GroupMember& member, const Take& take);
    void CheckTogether();
    void Report(Fault fault, const GroupMember& one, const Take& take, const GroupMember& other,
                const std::string& what);
    std::string Around(const GroupMember& one, const Take& take) const;

    std::vector<const GroupMember*> by_return_;  // of the send
    std::vector<const GroupMember*> by_record_;
    std::vector<Nanos> there_until_;  // the latest of by_return_ up to there
    std::vector<Lease> leases_;       // by start
    std::vector<Nanos> held_until_;   // the latest of leases_ up to there
    Context& c_;
};

GroupCheck::GroupCheck(std::vector<const GroupMember*> members, Context& context)
    : by_return_(std::move(members)), c_(context) {
    by_record_ = by_return_;
    std::sort(by_record_.begin(), by_record_.end(), [](auto* a, auto* b) { return a->send < b->send; });
    std::sort(by_return_.begin(), by_return_.end(), [](auto* a, auto* b) { return a->send->resp < b->send->resp; });
    Nanos latest = 0;
    for (const GroupMember* member : by_return_) {
        there_until_.push_back(latest = std::max(latest, member->there_until));
        for (const GroupMember::Lease& lease : member->leases)
            leases_.push_back({member, lease.take, lease.start, lease.end});
    }
    std::sort(leases_.begin(), leases_.end(), [](const Lease& a, const Lease& b) { return a.start < b.start; });
    latest = 0;
    for (const Lease& lease : leases_) held_until_.push_back(latest = std::max(latest, lease.end));
}

void GroupCheck::Run() {
    const bool fifo = c_.journal.queues[by_return_.front()->send->queue].fifo;
    for (const GroupMember* member : by_record_) {
        // Those whose send had returned before this one was asked for.
        const auto before = static_cast<std::size_t>(
            std::partition_point(by_return_.begin(), by_return_.end(),
                                 [&](const GroupMember* other) { return other->send->resp <= member->send->req; }) -
            by_return_.begin());
        for (const Take* take : member->takes) {
            if (!take->grouped || take->kind == TakeKind::kPeek) continue;
            if (fifo) CheckOrder(*member, before, *take);
            CheckAlone(*member, *take);
        }
    }
    CheckTogether();
    c_.coverage.group_leases += leases_.size();
}

void GroupCheck::CheckOrder(const GroupMember& later, std::size_t before, const Take& take) {
    bool any = before > 0;
    // Those of the same send_batch.
    const auto self = std::lower_bound(by_record_.begin(), by_record_.end(), later.send,
                                       [](const GroupMember* member, const Send* send) { return member->send < send; });
    for (auto i = self; i != by_record_.begin() && OneCall(*(*(i - 1))->send, *later.send); --i) {
        any = true;
        if (HadToGoFirst(**(i - 1), later, take)) {
            Report(Fault::kGroupOrder, later, take, **(i - 1), "handed out before an earlier one of its batch");
            break;
        }
    }
    if (any) ++(ByHandler(take.kind) ? c_.coverage.calls_ordered : c_.coverage.group_ordered);
    if (before == 0 || there_until_[before - 1] < (ByHandler(take.kind) ? take.req : take.resp)) return;
    for (std::size_t i = before; i-- > 0;) {
        if (!HadToGoFirst(*by_return_[i], later, take)) continue;
        Report(Fault::kGroupOrder, later, take, *by_return_[i], "handed out before an earlier one of its group");
        return;
    }
}

// One that was tried often enough becomes a dead letter in the transaction of the read that comes upon it, which goes
// on behind it: if that is rolled back, it is there again, and passed over again. Whether it was tried often enough
// nobody knows, since the answer to a read can be lost; unless it was handed out later.
bool GroupCheck::MayBePassedOver(const GroupMember& earlier, const Take& take) const {
    if (c_.journal.queues[earlier.send->queue].max_attempts == 0) return false;
    return std::none_of(earlier.takes.begin(), earlier.takes.end(), [&](const Take* other) {
        if (other->kind == TakeKind::kPeek) return false;
        return ByHandler(take.kind) && ByHandler(other->kind) ? other->place > take.place : other->req >= take.req;
    });
}

// `earlier` is one whose place is certainly before that of `later`.
bool GroupCheck::HadToGoFirst(const GroupMember& earlier, const GroupMember& later, const Take& take) const {
    // Of two calls by handlers it is known to the last which came first.
    bool called_later = false;
    for (const Take* other : earlier.takes) {
        if (!ByHandler(take.kind) || !ByHandler(other->kind)) continue;
        if (other->kind == TakeKind::kHandled && other->place < take.place) return false;
        called_later = called_later || other->place > take.place;
    }
    if (!called_later && earlier.there_until < take.resp) return false;
    const Fate& first = c_.fates.Of(earlier.send->tx);
    const Fate& second = c_.fates.Of(later.send->tx);
    if (first.outcome == Outcome::kRolledBack || MayBePassedOver(earlier, take)) return false;
    const bool known = first.outcome == Outcome::kCommitted && first.end_resp < std::max(take.req, later.send->req);
    if (first.root != second.root && !known) return false;
    return std::none_of(earlier.takes.begin(), earlier.takes.end(),
                        [&](const Take* other) { return OneCall(*other, take) && other < &take; });
}

// Nobody else's lease was in force while the message was handed out.
void GroupCheck::CheckAlone(const GroupMember& member, const Take& take) {
    const auto before =
        static_cast<std::size_t>(std::partition_point(leases_.begin(), leases_.end(),
                                                      [&](const Lease& lease) { return lease.start <= take.req; }) -
                                 leases_.begin());
    if (before == 0 || held_until_[before - 1] <= take.resp) return;
    for (std::size_t i = before; i-- > 0;) {
        const Lease& lease = leases_[i];
        if (lease.member == &member || lease.end <= take.resp || OneCall(*lease.take, take)) continue;
        Report(Fault::kGroupTwice, member, take, *lease.member, "handed out while another one of its group was out");
        return;
    }
}

// Both certainly in force at one instant, though neither was asked for within the other.
void GroupCheck::CheckTogether() {
    std::vector<const Lease*> running;
    for (const Lease& lease : leases_) {
        running.erase(std::remove_if(running.begin(), running.end(),
                                     [&](const Lease* other) { return other->end <= lease.start; }),
                      running.end());
        for (const Lease* other : running) {
            if (other->member == lease.member || OneCall(*other->take, *lease.take)) continue;
            if (!other->take->grouped || !lease.take->grouped || lease.take->req >= other->start) continue;
            Report(Fault::kGroupTwice, *lease.member, *lease.take, *other->member,
                   "out together with another one of its group");
            break;
        }
        running.push_back(&lease);
    }
}

// What the group's other messages went through shortly before, and in the same answer.
std::string GroupCheck::Around(const GroupMember& one, const Take& take) const {
    struct Line {
        Nanos req;
        std::string text;
    };
    std::vector<Line> lines;
    const auto add = [&](std::int64_t id, Nanos req, Nanos resp, TxId tx, const std::string& what) {
        if (resp < take.req - 300 * support::kMillisecond || req > take.resp) return;
        const auto ms = [&](Nanos at) { return std::to_string(static_cast<double>(at - one.send->req) / 1e6); };
        lines.push_back({req, "\n      [" + ms(req) + " .. " + ms(resp) + "] " + std::to_string(id) + ": " + what +
                                  "; tx " + std::to_string(c_.fates.Of(tx).root)});
    };
    for (const GroupMember* member : by_record_) {
        const std::int64_t id = member->send->msg_id;
        add(id, member->send->req, member->send->resp, member->send->tx, "sent");
        for (const Take* other : member->takes)
            add(id, other->req, other->resp, other->tx,
                (other->kind == TakeKind::kPeek ? "peek"
                 : OneCall(*other, take)        ? "in this answer"
                                                : "read") +
                    std::string(", receipt ") + std::to_string(other->receipt));
        for (const Act& act : c_.journal.acts)
            if (act.queue == one.send->queue && act.msg_id == id)
                add(id, act.req, act.resp, act.tx,
                    (Removes(act.kind)            ? "removed"
                     : act.kind == ActKind::kNack ? "nack"
                                                  : "set_vt") +
                        std::string(act.answer == Answer::kYes ? "" : ": no") + ", receipt " +
                        std::to_string(act.receipt));
    }
    std::sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) { return a.req < b.req; });
    std::string text = "\n    the group in the 0.3 s before";
    for (std::size_t i = lines.size() > 60 ? lines.size() - 60 : 0; i < lines.size(); ++i) text += lines[i].text;
    return text;
}

void GroupCheck::Report(Fault fault, const GroupMember& one, const Take& take, const GroupMember& other,
                        const std::string& what) {
    std::string text = c_.journal.queues[one.send->queue].name + " " + std::to_string(one.send->msg_id) + " of group " +
                       std::to_string(one.send->group) + ": " + what + ", " + std::to_string(other.send->msg_id);
    if (c_.violations.size() < 20)
        text += "\n" + HistoryOf(*one.send, *one.send, c_) + "\n    message " + std::to_string(other.send->msg_id) +
                "\n" + HistoryOf(*other.send, *one.send, c_) + Around(one, take);
    c_.violations.push_back({fault, std::move(text)});
}

}  // namespace

void CheckGroups(Context& context) {
    std::vector<GroupMember>& members = context.members;
    const auto place = [](const GroupMember& member) { return member.send->queue << 8 | member.send->group; };
    std::sort(members.begin(), members.end(),
              [&](const GroupMember& a, const GroupMember& b) { return place(a) < place(b); });
    for (std::size_t from = 0; from < members.size();) {
        std::vector<const GroupMember*> group;
        const int number = place(members[from]);
        for (; from < members.size() && place(members[from]) == number; ++from) group.push_back(&members[from]);
        GroupCheck(std::move(group), context).Run();
    }
}

}  // namespace torture
