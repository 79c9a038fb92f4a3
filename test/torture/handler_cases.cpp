// Journals of queues with a handler: with a fault in each, and right ones.
#include "story.hpp"

namespace torture {

namespace {

using enum ActKind;
constexpr Answer kYes = Answer::kYes;

void Ack(Story& s, int id, std::int64_t receipt, int req, int resp) {
    s.Do(kDelete, id, receipt, kYes, s.Auto(req, resp), req, resp, 0, kHandledTries);
}

std::vector<Case> Once() {
    return {
        {"handled",
         {},
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Handled(1, 7, 1, 10, 11);
         }},
        {"handled at the second attempt",
         {},
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Tried(1, 7, 1, 10, 11);
             s.Handled(1, 8, 2, 70, 71);
         }},
        {"handled after attempts that were killed",
         {},
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Handled(1, 8, 2, 70, 71);
         }},
        {"failed, and dead",
         {},
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Tried(1, 7, 1, 10, 11);
             s.Tried(1, 8, 2, 70, 71);
             s.j.dead.push_back({Story::Uid(1), 1, kHandledTries, 2, true});
         }},
        {"failed, dead, redriven and handled",
         {},
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Tried(1, 7, 1, 10, 11);
             s.Tried(1, 8, 2, 70, 71);
             s.Redrive(1, 2, s.Auto(80, 81), 80, 81, kHandledTries);
             s.Handled(2, 9, 1, 90, 91).uid = Story::Uid(1);
         }},
        {"failed once, and acked by a client",
         {},
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Tried(1, 7, 1, 10, 11);
             s.Read(1, 8, 2, 70, 71, 100, kHandledTries);
             Ack(s, 1, 8, 72, 73);
         }},
        {"its send of unknown outcome, and handled",
         {},
         [](Story& s) {
             s.Send(1, s.Unknown(0, 2, 3), 0, 1, 0, kHandledTries);
             s.Handled(1, 7, 1, 10, 11);
         }},
        {"handled twice", Fault::kEffects,
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Handled(1, 7, 1, 10, 11);
             s.Handled(1, 8, 2, 70, 71);
         }},
        {"a row without an echo", Fault::kEffects,
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Handled(1, 7, 1, 10, 11);
             s.j.echoes.clear();
         }},
        {"a row with two echoes", Fault::kEffects,
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Handled(1, 7, 1, 10, 11);
             s.j.echoes.push_back(1);
         }},
        {"an echo of a call that failed", Fault::kEffects,
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Tried(1, 7, 1, 10, 11);
             s.Handled(1, 8, 2, 70, 71);
             s.j.echoes.push_back(1);
         }},
        {"an echo that the function itself had undone", Fault::kEffects, [](Story& s) { s.j.echoes.push_back(-1); }},
        {"gone without an effect", Fault::kLost, [](Story& s) { s.Sent(1, kHandledTries); }},
        {"gone after an attempt that failed", Fault::kLost,
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Tried(1, 7, 1, 10, 11);
         }},
        {"handled, and still in its queue", Fault::kCameBack,
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Handled(1, 7, 1, 10, 11);
             s.j.leftovers.push_back({1, kHandledTries});
         }},
        {"handled, and acked", Fault::kAckedTwice,
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Handled(1, 7, 1, 10, 11);
             Ack(s, 1, 0, 20, 21);
         }},
        {"handled, and dead", Fault::kDeadLetter,
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Handled(1, 7, 2, 10, 11);
             s.j.dead.push_back({Story::Uid(1), 1, kHandledTries, 2, true});
         }},
        {"handled, and redriven", Fault::kRedriven,
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Handled(1, 7, 2, 10, 11);
             s.Redrive(1, 2, s.Auto(80, 81), 80, 81, kHandledTries);
             s.Handled(2, 9, 1, 90, 91).uid = Story::Uid(1);
         }},
        {"called for a third attempt", Fault::kDeadLetter,
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Handled(1, 9, 3, 300, 301);
         }},
    };
}

std::vector<Case> Deliveries() {
    return {
        {"handled after a client's lease had ended",
         {},
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Read(1, 7, 1, 10, 11, 30, kHandledTries);
             s.Handled(1, 8, 2, 40, 41);
         }},
        {"handled while a client had it", Fault::kTwoHolders,
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Read(1, 7, 1, 10, 11, 100, kHandledTries);
             s.Handled(1, 8, 2, 40, 41);
         }},
        {"handed out after the call had begun", Fault::kDeliveredWhileAcked,
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Handled(1, 7, 1, 10, 11);
             s.Read(1, 8, 2, 40, 41, 60, kHandledTries);
         }},
        {"called after it was acked", Fault::kCameBack,
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Read(1, 7, 1, 10, 11, 30, kHandledTries);
             Ack(s, 1, 7, 12, 13);
             s.Tried(1, 8, 2, 40, 41);
         }},
        {"called again before the backoff", Fault::kEarly,
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Tried(1, 7, 1, 10, 11);
             s.Handled(1, 8, 2, 40, 41);
         }},
        {"called with what was rolled back", Fault::kPhantom,
         [](Story& s) {
             s.Send(1, s.RolledBack(0, 5, 6), 0, 1, 0, kHandledTries);
             s.Tried(1, 7, 1, 10, 11);
         }},
        {"called before the COMMIT", Fault::kUncommitted,
         [](Story& s) {
             s.Send(1, s.Committed(0, 50, 51), 0, 1, 0, kHandledTries);
             s.Handled(1, 7, 1, 10, 11);
         }},
        {"called with a damaged message", Fault::kDamaged,
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Handled(1, 7, 1, 10, 11).intact = false;
         }},
        {"a receipt that a client had", Fault::kReceiptRepeated,
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Read(1, 7, 1, 10, 11, 30, kHandledTries);
             s.Handled(1, 7, 2, 40, 41);
         }},
        {"read_ct stood still from one call to the next", Fault::kReadCount,
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Tried(1, 7, 1, 10, 11);
             s.Handled(1, 8, 1, 70, 71);
         }},
        {"an old receipt accepted after a call", Fault::kStaleAccepted,
         [](Story& s) {
             s.Sent(1, kHandledTries);
             s.Read(1, 7, 1, 10, 11, 20, kHandledTries);
             s.Tried(1, 8, 2, 30, 31);
             Ack(s, 1, 7, 90, 91);
         }},
    };
}

void SentInOrder(Story& s) {
    s.SentTo(1, 1, 0, 1, kHandledFifo);
    s.SentTo(1, 2, 2, 3, kHandledFifo);
}

std::vector<Case> Order() {
    return {
        {"a group handled in order",
         {},
         [](Story& s) {
             SentInOrder(s);
             s.Handled(1, 7, 1, 10, 11, kHandledFifo);
             s.Handled(2, 8, 1, 20, 21, kHandledFifo);
         }},
        {"in order, leased by one read",
         {},
         [](Story& s) {
             SentInOrder(s);
             s.Handled(1, 7, 1, 10, 11, kHandledFifo);
             s.Handled(2, 8, 1, 10, 12, kHandledFifo);
         }},
        {"the first one fails, and is handled before the second",
         {},
         [](Story& s) {
             SentInOrder(s);
             s.Tried(1, 7, 1, 10, 11, kHandledFifo);
             s.Handled(1, 8, 2, 20, 21, kHandledFifo);
             s.Handled(2, 9, 1, 30, 31, kHandledFifo);
         }},
        {"the second was there before the first was committed",
         {},
         [](Story& s) {
             s.SendTo(1, 1, s.Committed(0, 50, 51), 0, 1, 0, kHandledFifo);
             s.SentTo(1, 2, 2, 3, kHandledFifo);
             s.Handled(2, 7, 1, 10, 11, kHandledFifo);
             s.Handled(1, 8, 1, 60, 61, kHandledFifo);
         }},
        {"the first one fails for the last time, and the second is handled at once",
         {},
         [](Story& s) {
             SentInOrder(s);
             s.j.queues[kHandledFifo].max_attempts = 2;
             s.j.queues[kHandledFifo].backoff = 0.1;
             s.Tried(1, 7, 2, 10, 11, kHandledFifo);
             s.j.dead.push_back({Story::Uid(1), 1, kHandledFifo, 2, true});
             s.Handled(2, 8, 1, 20, 21, kHandledFifo);
         }},
        {"called while another one of the group waits for its next attempt", Fault::kGroupTwice,
         [](Story& s) {
             s.SendTo(1, 1, s.Committed(0, 8, 9), 0, 1, 0, kHandledFifo);
             s.SentTo(1, 2, 2, 3, kHandledFifo);
             s.j.queues[kHandledFifo].backoff = 0.1;
             s.Tried(2, 7, 1, 4, 5, kHandledFifo);
             s.Handled(1, 8, 1, 20, 21, kHandledFifo);
             s.Handled(2, 9, 2, 70, 71, kHandledFifo);
         }},
        {"a group handled out of order", Fault::kGroupOrder,
         [](Story& s) {
             SentInOrder(s);
             s.Handled(2, 7, 1, 10, 11, kHandledFifo);
             s.Handled(1, 8, 1, 20, 21, kHandledFifo);
         }},
        {"out of order within one read", Fault::kGroupOrder,
         [](Story& s) {
             SentInOrder(s);
             s.Handled(2, 7, 1, 10, 12, kHandledFifo);
             s.Handled(1, 8, 1, 10, 12, kHandledFifo);
         }},
        {"the second called while the first one waits for its next attempt", Fault::kGroupOrder,
         [](Story& s) {
             SentInOrder(s);
             s.Tried(1, 7, 1, 10, 11, kHandledFifo);
             s.Tried(2, 8, 1, 20, 21, kHandledFifo);
             s.Handled(1, 9, 2, 30, 31, kHandledFifo);
             s.Handled(2, 10, 2, 40, 41, kHandledFifo);
         }},
        {"called though a client will have the first one", Fault::kGroupOrder,
         [](Story& s) {
             SentInOrder(s);
             s.Handled(2, 7, 1, 10, 11, kHandledFifo);
             s.ReadOf(1, 1, 8, 1, 20, 21, 50, kHandledFifo);
             s.AckOf(1, 8, 22, 23, kHandledFifo);
         }},
        {"called while a client has another one of the group", Fault::kGroupTwice,
         [](Story& s) {
             s.SendTo(1, 1, s.Committed(0, 8, 9), 0, 1, 0, kHandledFifo);
             s.SentTo(1, 2, 2, 3, kHandledFifo);
             s.ReadOf(1, 2, 8, 1, 4, 5, 50, kHandledFifo);
             s.Handled(1, 7, 1, 20, 21, kHandledFifo);
             s.AckOf(2, 8, 32, 33, kHandledFifo);
         }},
    };
}

}  // namespace

std::vector<Case> HandlerCases() {
    std::vector<Case> all = Once();
    for (Case& one : Deliveries()) all.push_back(std::move(one));
    for (Case& one : Order()) all.push_back(std::move(one));
    return all;
}

}  // namespace torture
