#include "life_check.hpp"

#include <algorithm>

#include "message_check.hpp"

namespace torture {

void CheckLives(Context& context) {
    for (const auto& [uid, lives] : context.lives) {
        const Send* send = context.SendOf(uid);
        const std::string name = "number " + std::to_string(uid);
        if (send == nullptr) {
            context.violations.push_back({Fault::kPhantom, name + " was redriven, and never sent"});
            continue;
        }
        if (context.fates.Of(send->tx).outcome == Outcome::kRolledBack)
            context.violations.push_back({Fault::kPhantom, name + " was redriven, and its send was rolled back"});
        if (send->repeat)
            context.violations.push_back({Fault::kPhantom, name + " was redriven, and its send had stored nothing"});
        for (const Send* life : lives)
            if (life->queue != send->queue || life->group != send->group)
                context.violations.push_back(
                    {Fault::kRedriven, name + " was redriven to another queue, or with another group"});
    }
}

void MessageCheck::CheckRedriven() {
    const Send* send = TheSend();
    if (send == nullptr) return;
    const Fate& sent = c_.fates.Of(send->tx);
    if (sent.outcome == Outcome::kRolledBack) return;
    const auto found = c_.lives.find(send->uid);
    if (found == c_.lives.end()) return;
    const Send* first = nullptr;
    const Send* perhaps = nullptr;
    int doubts = 0;
    bool overlapping = false;
    for (const Send* life : found->second) {
        // Whoever was answered before this one was committed has had the dead letter of an earlier life. Who was asked
        // before it was sent may be slow enough to have met its own; of a life that a redriving began it may be either.
        if (life == send || life->resp <= sent.end_req) continue;
        const Outcome outcome = c_.fates.Of(life->tx).outcome;
        if (send->redriven && life->req <= send->req) {
            overlapping = overlapping || outcome != Outcome::kRolledBack;
            continue;
        }
        if (first == nullptr && life->req >= sent.end_req) first = life;
        if (outcome == Outcome::kCommitted) {
            if (next_life_ == nullptr) next_life_ = life;
        } else if (outcome == Outcome::kUnknown) {
            perhaps = life;
            ++doubts;
        }
    }
    if (first != nullptr) CheckGone(*first, *send);

    if (next_life_ != nullptr) {
        ++c_.coverage.moved_on;
        if (!m_.dead.empty()) Report(Fault::kRedriven, "redriven, and still a dead letter");
    } else if (perhaps != nullptr) {
        perhaps_redriven_ = true;
        Evidence& evidence = c_.evidence[c_.fates.Of(perhaps->tx).root];
        const std::string name = "the dead letter of message " + std::to_string(m_.msg_id);
        if (!m_.dead.empty())
            evidence.aborted = name + " is there still";
        else if (doubts == 1)
            evidence.committed = name + " has gone";
    } else if (overlapping) {
        perhaps_redriven_ = true;
    }
}

// Of a message whose dead letter somebody has redriven, whether that was committed or not.
void MessageCheck::CheckGone(const Send& moved, const Send& send) {
    // Who redrives sees a dead letter only when that is committed. So this holds whatever became of the redriving.
    if (c_.journal.queues[m_.queue].max_attempts == 0) Report(Fault::kRedriven, "redriven, and its queue has no end");
    for (const Take* take : m_.takes)
        if (take->kind != TakeKind::kPeek && take->req > moved.resp)
            Report(Fault::kRedriven, "handed out after its dead letter was redriven");
    const bool acked = std::any_of(removals_.begin(), removals_.end(), [&](const Removal& removal) {
        return removal.certain && c_.fates.Of(removal.tx).outcome == Outcome::kCommitted;
    });
    if (acked) Report(Fault::kRedriven, "redriven, though it was acked");
    if (!m_.archived.empty()) Report(Fault::kRedriven, "redriven, and in the archive");
    if (m_.leftover) Report(Fault::kRedriven, "redriven, and still in its queue");
    // Not so of a life that a redriving was to begin: what came later may be the dead letter of the one before.
    if (const Fate& sent = c_.fates.Of(send.tx); sent.outcome == Outcome::kUnknown && !send.redriven)
        c_.evidence[sent.root].committed = "message " + std::to_string(m_.msg_id) + " was redriven";
}

}  // namespace torture
