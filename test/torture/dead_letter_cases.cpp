// Journals of a queue that allows two attempts: with a fault in each, and right ones.
#include "story.hpp"

namespace torture {

namespace {

using enum ActKind;

void TriedTwice(Story& s) {
    s.Sent(1, kTries);
    s.Read(1, 7, 1, 10, 11, 20, kTries);
    s.Read(1, 8, 2, 30, 31, 40, kTries);
}

}  // namespace

std::vector<Case> DeadLetterCases() {
    return {
        {"dead after two attempts",
         {},
         [](Story& s) {
             TriedTwice(s);
             s.Dead(1);
         }},
        {"dead, its send of unknown outcome",
         {},
         [](Story& s) {
             s.Send(1, s.Unknown(0, 2, 3), 0, 1, 0, kTries);
             s.Dead(1);
         }},
        {"dead, after an ack that was rolled back",
         {},
         [](Story& s) {
             TriedTwice(s);
             s.Do(kDelete, 1, 8, Answer::kYes, s.RolledBack(32, 35, 36), 33, 34, 0, kTries);
             s.Dead(1);
         }},
        {"dead by its last nack, though that had a delay",
         {},
         [](Story& s) {
             TriedTwice(s);
             s.Do(kNack, 1, 8, Answer::kYes, s.Auto(32, 33), 32, 33, 100, kTries);
             s.Do(kDelete, 1, 8, Answer::kNo, s.Auto(34, 35), 34, 35, 0, kTries);
             s.Dead(1);
         }},
        {"gone after two attempts, and no dead letter", Fault::kLost, [](Story& s) { TriedTwice(s); }},
        {"two dead letters", Fault::kDeadLetter,
         [](Story& s) {
             TriedTwice(s);
             s.Dead(1);
             s.Dead(1);
         }},
        {"dead, and acked", Fault::kDeadLetter,
         [](Story& s) {
             TriedTwice(s);
             s.Do(kDelete, 1, 8, Answer::kYes, s.Auto(32, 33), 32, 33, 0, kTries);
             s.Dead(1);
         }},
        {"dead, and in the queue", Fault::kDeadLetter,
         [](Story& s) {
             TriedTwice(s);
             s.Dead(1);
             s.j.leftovers.push_back({1, kTries});
         }},
        {"dead too early", Fault::kDeadLetter,
         [](Story& s) {
             s.Sent(1, kTries);
             s.Dead(1, 1);
         }},
        {"a third attempt", Fault::kDeadLetter,
         [](Story& s) {
             TriedTwice(s);
             s.Read(1, 9, 3, 50, 51, 60, kTries);
             s.Do(kDelete, 1, 9, Answer::kYes, s.Auto(52, 53), 52, 53, 0, kTries);
         }},
        {"dead, and never sent", Fault::kPhantom,
         [](Story& s) {
             s.Send(1, s.RolledBack(0, 2, 3), 0, 1, 0, kTries);
             s.Dead(1);
         }},
        {"dead, and another message", Fault::kDeadLetter,
         [](Story& s) {
             TriedTwice(s);
             s.Dead(1);
             s.j.dead.back().uid = Story::Uid(2);
         }},
        {"dead, and damaged", Fault::kDamaged,
         [](Story& s) {
             TriedTwice(s);
             s.Dead(1);
             s.j.dead.back().intact = false;
         }},
    };
}

}  // namespace torture
