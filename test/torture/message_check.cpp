#include "message_check.hpp"

#include <algorithm>

namespace torture {

namespace {

// No lease, nack or set_vt of the torture program lasts longer, so older ones can't matter.
constexpr Nanos kLongestHold = 40 * support::kSecond;

// Within [from, to] of a sorted list?
bool AnyWithin(const std::vector<Nanos>& sorted, Nanos from, Nanos to) {
    const auto first = std::lower_bound(sorted.begin(), sorted.end(), from);
    return first != sorted.end() && *first <= to;
}

}  // namespace

const Send* Context::SendOf(std::uint64_t uid) const {
    if (uid < journal.first_uid || uid - journal.first_uid >= send_of.size()) return nullptr;
    return send_of[uid - journal.first_uid];
}

const Send* Context::SendOf(std::uint64_t uid, std::uint16_t queue, std::int64_t msg_id) const {
    const Send* found = nullptr;
    if (const auto redriven = lives.find(uid); redriven != lives.end())
        for (const Send* life : redriven->second)
            if (life->queue == queue && life->msg_id == msg_id)
                if (found == nullptr || fates.Of(found->tx).outcome == Outcome::kRolledBack) found = life;
    return found != nullptr ? found : SendOf(uid);
}

void MessageCheck::Run() {
    CollectRemovals();
    CollectHolds();
    for (const Take* take : m_.takes) CheckTake(*take);
    CheckExclusion();
    CheckReadCounts();
    CheckActs();
    CheckArchive();
    CheckDead();
    CheckRedriven();
    CheckEnd();
    NoteMember();
}

// The send that this message comes from: of those that had this id, the one that stored it and wasn't rolled back.
const Send* MessageCheck::TheSend() const {
    const Send* best = nullptr;
    for (const Send* send : m_.sends)
        if (best == nullptr || best->repeat || (!send->repeat && c_.fates.Of(best->tx).outcome == Outcome::kRolledBack))
            best = send;
    return best;
}

void MessageCheck::CollectRemovals() {
    for (const Act* act : m_.acts)
        if (Removes(act->kind) && act->answer != Answer::kNo)
            removals_.push_back({nullptr, act, act->tx, act->req, act->resp, act->answer == Answer::kYes,
                                 act->kind == ActKind::kArchive});
    for (const Take* take : m_.takes)
        if (take->kind == TakeKind::kPop || take->kind == TakeKind::kHandled)
            removals_.push_back({take, nullptr, take->tx, take->req, take->resp, true, false});
}

void MessageCheck::CollectHolds() {
    const Nanos margin = c_.journal.margin;
    for (const Take* take : m_.takes) {
        if (take->kind != TakeKind::kRead && take->kind != TakeKind::kTried) continue;
        Hold hold{take->req, take->resp, take->until - margin, take->receipt, take, nullptr};
        const Fate& fate = c_.fates.Of(take->tx);
        if (fate.outcome != Outcome::kCommitted) {
            // Given back, it comes after the queue's backoff, which may be longer than the lease but need not. What a
            // handler gives up for the last time becomes a dead letter at once.
            hold.paused = std::min(hold.end, fate.end_req);
            const Queue& queue = c_.journal.queues[m_.queue];
            const bool over =
                take->kind == TakeKind::kTried && queue.max_attempts > 0 && take->read_ct >= queue.max_attempts;
            const Nanos backoff = over ? 0 : ShortestBackoff(queue, take->read_ct);
            hold.end = fate.end_req < hold.end - backoff ? fate.end_req + backoff : hold.end;
            if (take->kind == TakeKind::kRead) ++c_.coverage.released;
        }
        EndByOthers(hold);
        EndByCrash(hold);
        if (hold.end > hold.paused) ++c_.coverage.backoffs;
        holds_.push_back(hold);
        if (take->kind != TakeKind::kRead) continue;
        ++c_.coverage.leases;
        if (hold.end > hold.start) ++c_.coverage.exclusive;
    }
    for (const Act* act : m_.acts) {
        if (Removes(act->kind) || act->answer != Answer::kYes || act->until == 0) continue;
        const std::int64_t receipt = act->got_receipt != 0 ? act->got_receipt : act->receipt;
        Hold hold{act->req, act->resp, act->until - margin, receipt, nullptr, act};
        EndByOthers(hold);
        EndByCrash(hold);
        if (act->kind == ActKind::kNack && c_.journal.queues[m_.queue].backoff > 0 && hold.end > hold.start)
            ++c_.coverage.backoffs;
        holds_.push_back(hold);
    }
}

// A nack or set_vt that matches may let others have the message as soon as it is asked for, and so may the rollback of
// the transaction that took the very lease that a nack or set_vt of somebody else changed.
void MessageCheck::EndByOthers(Hold& hold) {
    for (const Act* act : m_.acts) {
        if (Removes(act->kind) || act == hold.act || act->answer == Answer::kNo || act->resp <= hold.req) continue;
        if (act->receipt == 0 || hold.receipt == 0 || act->receipt == hold.receipt)
            hold.end = std::min(hold.end, act->req);
    }
    if (hold.take != nullptr) return;
    bool known_lease = false;
    for (const Take* take : m_.takes) {
        if (take->kind != TakeKind::kRead) continue;
        known_lease = known_lease || take->receipt == hold.receipt;
        const Fate& fate = c_.fates.Of(take->tx);
        if (fate.outcome != Outcome::kCommitted && fate.end_resp > hold.req &&
            (hold.receipt == 0 || hold.receipt == take->receipt))
            hold.end = std::min(hold.end, fate.end_req);
    }
    // The lease may be one that we never heard of.
    if (!known_lease && (IsHandled() || AnyWithin(c_.blind_reqs[m_.queue], hold.req - kLongestHold, hold.end)))
        hold.end = hold.start;
}

void MessageCheck::EndByCrash(Hold& hold) {
    for (std::size_t i = 0; i < c_.journal.crashes.size(); ++i) {
        const Crash& crash = c_.journal.crashes[i];
        if (hold.req >= crash.end || hold.end <= crash.req) continue;
        if (c_.fates.Flushed(hold.start, Unlogged(), i))
            ++c_.coverage.kept_over_crash;
        else
            hold.end = std::min(hold.end, crash.req);
    }
}

// Whether an in-place change made in [req, resp] was certainly still there at `until`.
bool MessageCheck::SurvivesCrashes(Nanos req, Nanos resp, Nanos until) const {
    for (std::size_t i = 0; i < c_.journal.crashes.size(); ++i) {
        const Crash& crash = c_.journal.crashes[i];
        if (req < crash.end && until > crash.req && !c_.fates.Flushed(resp, Unlogged(), i)) return false;
    }
    return true;
}

void MessageCheck::CheckTake(const Take& take) {
    if (!take.intact) Report(Fault::kDamaged, "payload, headers or priority are not what was sent");
    if (!take.times_ok) Report(Fault::kWrongTimes, "vt or last_read_at of the row don't fit the call");
    if (IsLease(take.kind) && (take.receipt <= 0 || take.receipt >= (std::int64_t{1} << 53)))
        Report(Fault::kReceiptRange, "receipt " + std::to_string(take.receipt));
    CheckOrigin(take);
    for (const Removal& removal : removals_) {
        if (!removal.certain || removal.take == &take) continue;
        const Fate& fate = c_.fates.Of(removal.tx);
        if (fate.outcome == Outcome::kCommitted && take.req > fate.end_resp) {
            Report(Fault::kCameBack, "delivered after a committed ack");
        } else if (take.kind != TakeKind::kPeek && removal.resp <= take.req &&
                   (fate.outcome == Outcome::kCommitted || take.resp < fate.end_req)) {
            Report(Fault::kDeliveredWhileAcked, "delivered while an ack was in progress");
        } else if (fate.outcome == Outcome::kUnknown && take.req > removal.resp && take.kind != TakeKind::kPeek &&
                   c_.fates.Of(take.tx).root != fate.root) {
            c_.evidence[fate.root].aborted = "its ack of message " + std::to_string(m_.msg_id) + " had no effect";
        }
    }
}

void MessageCheck::CheckOrigin(const Take& take) {
    const Send* send = c_.SendOf(take.uid, take.queue, take.msg_id);
    if (send == nullptr) {
        if (take.uid == 0) return;  // reported as damaged
        if (take.uid < c_.journal.first_uid)
            Report(Fault::kCameBack, "number " + std::to_string(take.uid) + " was acked in an earlier round");
        else
            Report(Fault::kPhantom, "number " + std::to_string(take.uid) + " was never sent");
        return;
    }
    if (send->queue != take.queue) Report(Fault::kMixedUp, "sent to another queue");
    if (send->msg_id != take.msg_id) Report(Fault::kMixedUp, "the send was told id " + std::to_string(send->msg_id));
    if (send->group != take.group) Report(Fault::kMixedUp, "sent with another group");
    const Fate& sent = c_.fates.Of(send->tx);
    const Fate& taken = c_.fates.Of(take.tx);
    if (sent.root != taken.root) {
        if (sent.outcome == Outcome::kRolledBack)
            Report(Fault::kPhantom, "its send was rolled back");
        else if (take.resp < sent.end_req)
            Report(Fault::kUncommitted, "seen before its COMMIT was asked for");
        if (sent.outcome == Outcome::kUnknown)
            c_.evidence[sent.root].committed = "message " + std::to_string(m_.msg_id) + " was delivered";
    } else if (sent.outcome == Outcome::kRolledBack && take.req > sent.end_resp) {
        Report(Fault::kPhantom, "its send was rolled back to a savepoint before");
    }
    if (send->due == 0 || take.resp >= send->due - c_.journal.margin || take.kind == TakeKind::kPeek) return;
    const bool hurried = std::any_of(m_.acts.begin(), m_.acts.end(), [&](const Act* act) {
        return !Removes(act->kind) && act->answer != Answer::kNo && act->req < take.resp;
    });
    if (!hurried) Report(Fault::kEarly, "delivered before its delay was over");
}

void MessageCheck::CheckExclusion() {
    for (const Hold& hold : holds_) {
        for (const Take* take : m_.takes) {
            const bool held = hold.take != nullptr && take->req < hold.paused;
            const Fault fault = held ? Fault::kTwoHolders : Fault::kEarly;
            if (take == hold.take || take->kind == TakeKind::kPeek) continue;
            if (hold.start <= take->req && take->resp < hold.end)
                Report(fault, "handed out within somebody else's time");
        }
    }
    // Both certainly in force at one instant, though neither was asked for within the other.
    for (const Hold& one : holds_)
        for (const Hold& other : holds_)
            if (&one != &other && one.take != nullptr && other.take != nullptr && one.start <= other.start &&
                other.start < one.end && other.start < other.end && other.req < one.start)
                Report(Fault::kTwoHolders, "two leases held at once");
}

void MessageCheck::CheckReadCounts() {
    const auto& blind = c_.blind_reqs[m_.queue];
    for (const Take* take : m_.takes) {
        if (take->kind == TakeKind::kPeek) continue;
        std::int64_t reads = std::lower_bound(blind.begin(), blind.end(), take->resp) - blind.begin();
        bool again = false;
        for (const Take* other : m_.takes) {
            if (other->kind == TakeKind::kPeek) continue;
            if (other->req < take->resp) ++reads;
            if (other->resp >= take->req) continue;
            again = true;
            // Whether a pop counts as a read is not said.
            const bool both_read = IsLease(take->kind) && IsLease(other->kind);
            const bool grown = take->read_ct >= other->read_ct + (both_read ? 1 : 0);
            if (!grown && SurvivesCrashes(other->req, other->resp, take->resp))
                Report(Fault::kReadCount,
                       "read_ct " + std::to_string(take->read_ct) + " after " + std::to_string(other->read_ct));
        }
        if (again) ++c_.coverage.redelivered;
        if (take->read_ct > reads && !IsHandled())
            Report(Fault::kReadCountTooHigh,
                   "read_ct " + std::to_string(take->read_ct) + " after at most " + std::to_string(reads) + " reads");
        if (IsLease(take->kind) && take->read_ct < 1) Report(Fault::kReadCount, "a lease with read_ct 0");
    }
}

void MessageCheck::CheckActs() {
    for (const Act* act : m_.acts) {
        if (act->answer == Answer::kYes) {
            if (act->receipt != 0 && act->got_receipt != 0 && act->receipt != act->got_receipt)
                Report(Fault::kReceiptChanged,
                       "from " + std::to_string(act->receipt) + " to " + std::to_string(act->got_receipt));
            for (const Removal& removal : removals_) {
                const Fate& fate = c_.fates.Of(removal.tx);
                if (removal.act != act && removal.certain && fate.outcome == Outcome::kCommitted &&
                    act->req > fate.end_resp)
                    Report(Fault::kActedOnGone, "an act on it succeeded after a committed ack");
            }
            const TxId root = c_.fates.Of(act->tx).root;
            bool excused = false;
            for (const Send* send : m_.sends) {
                const Fate& sent = c_.fates.Of(send->tx);
                excused =
                    excused || (sent.root == root ? sent.outcome != Outcome::kRolledBack || act->req < sent.end_resp
                                                  : sent.outcome != Outcome::kRolledBack && act->resp > sent.end_req);
            }
            if (m_.sends.empty())
                Report(Fault::kPhantom, "an act found a message that nobody sent");
            else if (!excused)
                Report(Fault::kUncommitted, "an act found it without a committed send");
        }
        if (act->receipt != 0) CheckFence(*act);
    }
}

void MessageCheck::CheckFence(const Act& act) {
    const auto own = std::find_if(m_.takes.begin(), m_.takes.end(), [&](const Take* take) {
        return take->kind == TakeKind::kRead && take->receipt == act.receipt;
    });
    if (own == m_.takes.end()) return;
    // A later lease makes the receipt stale, if it was certainly taken before the act. If the act removed the message
    // for good, it need not even be certain: a later lease came either before it, or after the removal.
    const bool for_good = Removes(act.kind) && c_.fates.Of(act.tx).outcome == Outcome::kCommitted;
    bool superseded = false;
    bool contradicted = false;
    for (const Take* take : m_.takes) {
        if (!IsLease(take->kind) || take->req <= (*own)->resp) continue;
        if (!SurvivesCrashes(take->req, take->resp, act.resp)) continue;
        superseded = superseded || take->resp < act.req;
        contradicted = contradicted || (for_good && take->req < act.resp);
    }
    if (contradicted && !superseded && act.answer == Answer::kYes)
        Report(Fault::kStaleAccepted,
               "it was leased again, and yet receipt " + std::to_string(act.receipt) + " removed it");
    if (superseded && act.answer == Answer::kYes)
        Report(Fault::kStaleAccepted, "receipt " + std::to_string(act.receipt) + " of an earlier lease was accepted");
    if (superseded && act.answer == Answer::kNo) ++c_.coverage.stale_refused;
    if (act.answer != Answer::kNo) return;

    // Refused, though the lease held (by the read, or by a heartbeat since) and nobody had begun to remove the message?
    const bool held = std::any_of(holds_.begin(), holds_.end(), [&](const Hold& hold) {
        return hold.receipt == act.receipt && hold.start <= act.req && act.resp < hold.end;
    });
    const bool removing = std::any_of(removals_.begin(), removals_.end(), [&](const Removal& removal) {
        const Fate& fate = c_.fates.Of(removal.tx);
        const bool undone = fate.outcome == Outcome::kRolledBack && fate.end_resp < act.req;
        return removal.req < act.resp && !undone;
    });
    // To others, a message that isn't committed yet isn't there; nor, to the sender, one whose savepoint was rolled
    // back.
    const Send* send = TheSend();
    const Fate sent = send != nullptr ? c_.fates.Of(send->tx) : Fate{};
    const bool visible = send != nullptr && (sent.root == c_.fates.Of(act.tx).root
                                                 ? sent.outcome != Outcome::kRolledBack || act.resp < sent.end_req
                                                 : sent.outcome == Outcome::kCommitted && sent.end_resp < act.req);
    // The nack of a last attempt makes it a dead letter at once.
    const bool dying =
        c_.journal.queues[m_.queue].max_attempts > 0 &&
        std::any_of(m_.acts.begin(), m_.acts.end(), [&](const Act* other) {
            return other->kind == ActKind::kNack && other->answer != Answer::kNo && other->req < act.resp;
        });
    if (held && !removing && !dying && visible)
        Report(Fault::kValidRefused, "receipt " + std::to_string(act.receipt) + " was refused while its lease held");
}

void MessageCheck::CheckArchive() {
    if (m_.archived.size() > 1) Report(Fault::kArchive, std::to_string(m_.archived.size()) + " rows in the archive");
    const Removal* candidate = nullptr;
    int candidates = 0;
    bool certain = false;
    for (const Removal& removal : removals_) {
        const Fate& fate = c_.fates.Of(removal.tx);
        if (!removal.archives || fate.outcome == Outcome::kRolledBack) continue;
        ++candidates;
        candidate = &removal;
        certain = certain || (removal.certain && fate.outcome == Outcome::kCommitted);
    }
    if (m_.archived.empty()) {
        const bool emptied = Unlogged() && !c_.journal.crashes.empty();
        if (certain && !emptied) Report(Fault::kArchive, "archived, and not in the archive");
        return;
    }
    const ArchiveRow& row = *m_.archived.front();
    if (candidates == 0) Report(Fault::kArchive, "in the archive without a committed archive call");
    if (!row.intact) Report(Fault::kDamaged, "its row in the archive is not what was sent");
    const Send* send = c_.SendOf(row.uid, m_.queue, m_.msg_id);
    if (send == nullptr || send->queue != m_.queue || send->msg_id != m_.msg_id || send->group != row.group)
        Report(Fault::kArchive, "its row in the archive is another message's");
    if (candidates == 1 && !certain)
        c_.evidence[c_.fates.Of(candidate->tx).root].committed =
            "message " + std::to_string(m_.msg_id) + " is in the archive";
}

// One that was tried often enough is in the dead-letter queue, once, and nowhere else.
void MessageCheck::CheckDead() {
    const std::int64_t most = c_.journal.queues[m_.queue].max_attempts;
    for (const Take* take : m_.takes)
        if (most > 0 && take->kind != TakeKind::kPeek && take->read_ct > most)
            Report(Fault::kDeadLetter, "handed out as attempt " + std::to_string(take->read_ct));
    if (m_.dead.empty()) return;
    ++c_.coverage.dead;
    if (m_.dead.size() > 1) Report(Fault::kDeadLetter, std::to_string(m_.dead.size()) + " dead letters");
    const DeadRow& row = *m_.dead.front();
    if (row.attempts < most || most == 0)
        Report(Fault::kDeadLetter, "a dead letter after " + std::to_string(row.attempts) + " attempts");
    if (!row.intact) Report(Fault::kDamaged, "its dead letter is not what was sent");
    const Send* send = c_.SendOf(row.uid, m_.queue, m_.msg_id);
    if (send == nullptr || send->queue != m_.queue || send->msg_id != m_.msg_id)
        Report(Fault::kDeadLetter, "its dead letter is another message");
    else if (c_.fates.Of(send->tx).outcome == Outcome::kRolledBack)
        Report(Fault::kPhantom, "a dead letter, whose send was rolled back");
    else if (c_.fates.Of(send->tx).outcome == Outcome::kUnknown)
        c_.evidence[c_.fates.Of(send->tx).root].committed =
            "message " + std::to_string(m_.msg_id) + " is a dead letter";
    for (const Removal& removal : removals_)
        if (removal.certain && c_.fates.Of(removal.tx).outcome == Outcome::kCommitted)
            Report(Fault::kDeadLetter, "a dead letter, though it was acked");
    if (m_.leftover) Report(Fault::kDeadLetter, "a dead letter, and still in its queue");
}

// Where the message went in the end.
void MessageCheck::CheckEnd() {
    int committed = 0;
    int possible = 0;
    int handled = 0;
    const Removal* maybe = nullptr;
    for (const Removal& removal : removals_) {
        const Outcome outcome = c_.fates.Of(removal.tx).outcome;
        if (outcome == Outcome::kRolledBack) {
            ++c_.coverage.acks_rolled_back;
            continue;
        }
        if (removal.certain && outcome == Outcome::kCommitted) {
            ++committed;
            if (removal.take != nullptr && removal.take->kind == TakeKind::kHandled) ++handled;
        } else {
            ++possible;
            maybe = &removal;
        }
    }
    if (committed > 0) ++c_.coverage.acked;
    if (handled > 0) ++c_.coverage.handled;
    if (handled > 1) Report(Fault::kEffects, "handled " + std::to_string(handled) + " times");
    if (committed > 1 && committed > handled)
        Report(Fault::kAckedTwice, std::to_string(committed) + " acks of it were committed");
    if (m_.leftover) Report(committed > 0 ? Fault::kCameBack : Fault::kStuck, "still in the table at the end");
    if (committed > 0 || m_.leftover || !m_.dead.empty() || next_life_ != nullptr) {
        // Another's ack is what removed it, so an unknown one with a positive answer didn't.
        for (const Removal& removal : removals_) {
            const Fate& fate = c_.fates.Of(removal.tx);
            if (fate.outcome == Outcome::kUnknown && removal.certain)
                c_.evidence[fate.root].aborted = "its ack of message " + std::to_string(m_.msg_id) + " had no effect";
        }
    }

    const Send* send = TheSend();
    if (send == nullptr) return;
    const Fate& sent = c_.fates.Of(send->tx);
    const bool seen = committed > 0 || m_.leftover || !m_.archived.empty() || !m_.dead.empty() || next_life_ != nullptr;
    // A prepared send is emptied out too, though its COMMIT PREPARED comes after the crash.
    const bool emptied = Unlogged() && std::any_of(c_.journal.crashes.begin(), c_.journal.crashes.end(),
                                                   [&](const Crash& crash) { return crash.end > send->req; });
    if (emptied && !seen && sent.outcome == Outcome::kCommitted && possible == 0) ++c_.coverage.vanished_unlogged;
    if (seen || emptied || perhaps_redriven_) return;
    if (sent.outcome == Outcome::kCommitted) {
        if (possible == 0) {
            auto& missing = c_.missing[m_.queue];
            missing.push_back({m_.msg_id, missing.size() < 5 ? History(kNever) : std::string()});
        } else if (possible == 1) {
            if (maybe->archives && c_.blind_pops[m_.queue] == 0)
                Report(Fault::kLost, "neither in the queue nor, archived perhaps, in the archive");
            if (c_.blind_pops[m_.queue] == 0)
                c_.evidence[c_.fates.Of(maybe->tx).root].committed =
                    "message " + std::to_string(m_.msg_id) + " is gone, and nobody else acked it";
        }
    } else if (sent.outcome == Outcome::kUnknown && possible == 0 && c_.blind_pops[m_.queue] == 0) {
        c_.evidence[sent.root].aborted = "message " + std::to_string(m_.msg_id) + " never appeared";
    }
}

// --- what the check of its group has to know

void MessageCheck::NoteMember() {
    const Send* send = TheSend();
    if (send == nullptr || send->group == kNoGroup) return;
    GroupMember member{send, ThereUntil(*send), m_.takes, {}};
    // Nobody is kept waiting any more once a removal is committed.
    Nanos removed = kNever;
    for (const Removal& removal : removals_) {
        const Fate& fate = c_.fates.Of(removal.tx);
        if (fate.outcome != Outcome::kRolledBack) removed = std::min(removed, fate.end_req);
        const Tx& root = c_.journal.txs[fate.root];
        if (root.gid != 0) removed = std::min(removed, root.end_req);
    }
    const auto note = [&](const Take& take, const Hold& hold) {
        const Nanos end = std::min(hold.end, removed);
        if (end > hold.start) member.leases.push_back({&take, hold.start, end});
    };
    for (const Hold& lease : holds_) {
        if (lease.take == nullptr) continue;
        note(*lease.take, lease);
        // Its heartbeats, each while the one before was in force.
        const Hold* last = &lease;
        for (bool prolonged = true; prolonged;) {
            prolonged = false;
            for (const Hold& hold : holds_) {
                if (hold.act == nullptr || !Prolongs(hold, *last)) continue;
                note(*lease.take, hold);
                last = &hold;
                prolonged = true;
                break;
            }
        }
    }
    c_.members.push_back(std::move(member));
}

// Whether the hold is that of a heartbeat which came while the lease, or the heartbeat before, was certainly in force.
bool MessageCheck::Prolongs(const Hold& heartbeat, const Hold& lease) const {
    const Act& act = *heartbeat.act;
    if (act.kind != ActKind::kSetVt || act.got_receipt == 0 || act.got_receipt != lease.receipt) return false;
    const Nanos until = lease.take != nullptr ? lease.take->until : lease.act->until;
    // It is what cut the hold, and nothing else can have.
    if (lease.end != act.req || lease.start > act.req || until - c_.journal.margin <= act.resp) return false;
    for (const Take* take : m_.takes)
        if (take->receipt == lease.receipt && c_.fates.Of(take->tx).outcome != Outcome::kCommitted &&
            c_.fates.Of(take->tx).end_req <= act.resp)
            return false;
    return std::none_of(m_.acts.begin(), m_.acts.end(), [&](const Act* other) {
        return !Removes(other->kind) && other != &act && other != lease.act && other->answer != Answer::kNo &&
               other->resp > lease.req && other->req < act.resp;
    });
}

// Before this instant it certainly hadn't gone.
Nanos MessageCheck::ThereUntil(const Send& send) const {
    if (m_.leftover) return kNever;
    Nanos until = 0;
    for (const Take* take : m_.takes) {
        if (take->kind != TakeKind::kPeek) until = std::max(until, take->req);
        if (take->kind == TakeKind::kTried) until = std::max(until, c_.fates.Of(take->tx).end_req);
    }
    for (const Act* act : m_.acts)
        if (act->answer == Answer::kYes) until = std::max(until, act->req);
    for (const Removal& removal : removals_) {
        const Fate& fate = c_.fates.Of(removal.tx);
        if (!removal.certain || fate.outcome != Outcome::kCommitted) continue;
        Nanos end = fate.end_req;
        for (const Crash& crash : c_.journal.crashes)
            if (Unlogged() && crash.end > send.req) end = std::min(end, std::max(removal.req, crash.req));
        until = std::max(until, end);
    }
    return until;
}

void MessageCheck::Report(Fault fault, const std::string& what) {
    // One report of a kind for a message is enough; its history shows the rest.
    if (!c_.violations.empty()) {
        const Violation& last = c_.violations.back();
        const std::string head = c_.journal.queues[m_.queue].name + " " + std::to_string(m_.msg_id) + ":";
        if (last.fault == fault && last.text.compare(0, head.size(), head) == 0) return;
    }
    std::string text = c_.journal.queues[m_.queue].name + " " + std::to_string(m_.msg_id) + ": " + what;
    // Thousands of histories help nobody.
    if (c_.violations.size() < 200) text += "\n" + History(kNever);
    c_.violations.push_back({fault, std::move(text)});
}

}  // namespace torture
