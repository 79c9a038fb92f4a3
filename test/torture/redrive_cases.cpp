// Journals of dead letters that come back, and of pauses between attempts: with a fault in each, and right ones.
#include "story.hpp"

namespace torture {

namespace {

using enum ActKind;

// Sent as 1, tried twice, dead by 40.
void Died(Story& s) {
    s.Sent(1, kTries);
    s.Read(1, 7, 1, 10, 11, 20, kTries);
    s.Read(1, 8, 2, 30, 31, 40, kTries);
}

// Message 2 is number 1, come back: it is read and acked.
void AckedAgain(Story& s, int from) {
    s.Read(2, 9, 1, from, from + 1, from + 20, kTries).uid = Story::Uid(1);
    s.Do(kDelete, 2, 9, Answer::kYes, s.Auto(from + 2, from + 3), from + 2, from + 3, 0, kTries);
}

std::vector<Case> Redriven() {
    return {
        {"redriven and acked",
         {},
         [](Story& s) {
             Died(s);
             s.Redrive(1, 2, s.Auto(50, 51), 50, 51);
             AckedAgain(s, 60);
         }},
        {"redriven, and dead again",
         {},
         [](Story& s) {
             Died(s);
             s.Redrive(1, 2, s.Auto(50, 51), 50, 51);
             s.j.dead.push_back({Story::Uid(1), 2, kTries, 2, true});
         }},
        {"a redriving that was rolled back, and one that was not",
         {},
         [](Story& s) {
             Died(s);
             s.Redrive(1, 3, s.RolledBack(50, 52, 53), 50, 51);
             s.Redrive(1, 2, s.Auto(60, 61), 60, 61);
             AckedAgain(s, 70);
         }},
        {"redriven by two at once, of whom the first to ask came later",
         {},
         [](Story& s) {
             Died(s);
             s.Redrive(1, 3, s.RolledBack(52, 58, 59), 52, 55);
             s.Redrive(1, 2, s.Committed(50, 80, 81), 50, 70);
             AckedAgain(s, 90);
         }},
        {"redriven by who was asked before it was sent, and took his time",
         {},
         [](Story& s) {
             s.Send(1, s.Auto(5, 6), 5, 6, 0, kTries);
             s.Read(1, 7, 1, 10, 11, 20, kTries);
             s.Read(1, 8, 2, 30, 31, 40, kTries);
             s.Redrive(1, 2, s.Committed(1, 80, 81), 1, 70);
             AckedAgain(s, 90);
         }},
        {"redriven, read and deleted in a transaction that was rolled back",
         {},
         [](Story& s) {
             Died(s);
             const TxId tx = s.RolledBack(50, 58, 59);
             s.Redrive(1, 2, tx, 50, 51);
             s.Read(2, 9, 1, tx, 52, 53, 90, kTries).uid = Story::Uid(1);
             s.Do(kDelete, 2, 9, Answer::kYes, tx, 54, 55, 0, kTries);
             s.Dead(1);
         }},
        {"redriven by a transaction of unknown outcome that was committed",
         {},
         [](Story& s) {
             Died(s);
             s.Redrive(1, 2, s.Unknown(50, 52, 53), 50, 51);
             AckedAgain(s, 70);
         }},
        {"redriven by a transaction of unknown outcome that was not",
         {},
         [](Story& s) {
             Died(s);
             s.Redrive(1, 2, s.Unknown(50, 52, 53), 50, 51);
             s.Dead(1);
         }},
        {"redriven by a transaction that a crash ended, with an ack, and then by another one",
         {},
         [](Story& s) {
             Died(s);
             s.Sent(5);
             s.Read(5, 20, 1, 41, 42, 60);
             const TxId tx = s.Unknown(50, 54, 55);
             s.Redrive(1, 3, tx, 51, 52);
             s.Do(kDelete, 5, 20, Answer::kYes, tx, 52, 53);
             s.Redrive(1, 2, s.Auto(60, 61), 60, 61);
             AckedAgain(s, 70);
             s.Drained(5, 9999, 2);
         }},
        {"a send of unknown outcome, never seen but redriven",
         {},
         [](Story& s) {
             const TxId tx = s.Unknown(0, 0, 5);
             s.j.sends.push_back({Story::Uid(1), 0, tx, kTries, Story::T(0), Story::T(6), 0});
             s.Redrive(1, 2, s.Auto(50, 51), 50, 51);
             AckedAgain(s, 60);
         }},
        {"redriven, though it was acked", Fault::kRedriven,
         [](Story& s) {
             Died(s);
             s.Do(kDelete, 1, 8, Answer::kYes, s.Auto(32, 33), 32, 33, 0, kTries);
             s.Redrive(1, 2, s.Auto(50, 51), 50, 51);
             AckedAgain(s, 60);
         }},
        {"redriven, and a dead letter still", Fault::kRedriven,
         [](Story& s) {
             Died(s);
             s.Redrive(1, 2, s.Auto(50, 51), 50, 51);
             AckedAgain(s, 60);
             s.Dead(1);
         }},
        {"redriven, and in its queue still", Fault::kRedriven,
         [](Story& s) {
             Died(s);
             s.Redrive(1, 2, s.Auto(50, 51), 50, 51);
             AckedAgain(s, 60);
             s.j.leftovers.push_back({1, kTries});
         }},
        {"redriven, and in the archive", Fault::kRedriven,
         [](Story& s) {
             Died(s);
             s.Do(kArchive, 1, 8, Answer::kYes, s.Auto(32, 33), 32, 33, 0, kTries);
             s.j.archived.push_back({Story::Uid(1), 1, kTries, true});
             s.Redrive(1, 2, s.Auto(50, 51), 50, 51);
             AckedAgain(s, 60);
         }},
        {"handed out after it was redriven", Fault::kRedriven,
         [](Story& s) {
             Died(s);
             s.Redrive(1, 2, s.Auto(50, 51), 50, 51);
             s.Read(1, 10, 2, 55, 56, 58, kTries);
             AckedAgain(s, 60);
         }},
        {"redriven twice", Fault::kRedriven,
         [](Story& s) {
             Died(s);
             s.Redrive(1, 2, s.Auto(50, 51), 50, 51);
             AckedAgain(s, 60);
             s.Redrive(1, 3, s.Auto(52, 53), 52, 53);
             s.j.dead.push_back({Story::Uid(1), 3, kTries, 2, true});
         }},
        {"redriven from a queue without an end", Fault::kRedriven,
         [](Story& s) {
             s.Sent(1);
             s.Redrive(1, 2, s.Auto(50, 51), 50, 51, 0);
             s.Read(2, 9, 1, 60, 61, 80).uid = Story::Uid(1);
             s.Ack(2, 9, 62, 63);
         }},
        {"redriven to another queue", Fault::kRedriven,
         [](Story& s) {
             Died(s);
             s.Redrive(1, 2, s.Auto(50, 51), 50, 51, kHandledTries);
             s.j.dead.push_back({Story::Uid(1), 2, kHandledTries, 2, true});
         }},
        {"redriven, and gone", Fault::kLost,
         [](Story& s) {
             Died(s);
             s.Redrive(1, 2, s.Auto(50, 51), 50, 51);
         }},
        {"a redriving rolled back, and the dead letter gone with it", Fault::kLost,
         [](Story& s) {
             Died(s);
             s.Redrive(1, 2, s.RolledBack(50, 52, 53), 50, 51);
         }},
        {"half a redriving", Fault::kTorn,
         [](Story& s) {
             Died(s);
             s.Redrive(1, 2, s.Unknown(50, 52, 53), 50, 51);
             AckedAgain(s, 70);
             s.Dead(1);
         }},
        {"the dead letter gone, and nothing in its place", Fault::kTorn,
         [](Story& s) {
             Died(s);
             s.Redrive(1, 2, s.Unknown(50, 52, 53), 50, 51);
         }},
        {"redriven, and never sent", Fault::kPhantom,
         [](Story& s) {
             s.Redrive(1, 2, s.Auto(50, 51), 50, 51);
             AckedAgain(s, 60);
         }},
        {"handed out from a redriving that was rolled back", Fault::kPhantom,
         [](Story& s) {
             Died(s);
             s.Redrive(1, 2, s.RolledBack(50, 52, 53), 50, 51);
             AckedAgain(s, 60);
             s.Dead(1);
         }},
        {"handed out though a redriving had seen its dead letter", Fault::kRedriven,
         [](Story& s) {
             Died(s);
             s.Redrive(1, 2, s.RolledBack(50, 52, 53), 50, 51);
             s.Read(1, 10, 2, 55, 56, 58, kTries);
             s.Dead(1);
         }},
        {"redriven, and its send was rolled back", Fault::kPhantom,
         [](Story& s) {
             s.Send(1, s.RolledBack(0, 2, 3), 0, 1, 0, kTries);
             s.Redrive(1, 2, s.Auto(50, 51), 50, 51);
             AckedAgain(s, 60);
         }},
    };
}

// Read once in a transaction that is rolled back at 20, or nacked then, and again at `again`.
void ReadAgain(Story& s, int until, int ct, int again) {
    s.Sent(1, kPausing);
    s.Read(1, 7, ct, s.RolledBack(5, 20, 21), 10, 11, until, kPausing);
    s.Read(1, 8, ct + 1, again, again + 1, again + 50, kPausing);
    s.Do(kDelete, 1, 8, Answer::kYes, s.Auto(again + 2, again + 3), again + 2, again + 3, 0, kPausing);
    for (int i = 1; i < ct; ++i) s.j.blinds.push_back({s.Unknown(2, 2, 3), kPausing, false, 1, Story::T(2)});
}

std::vector<Case> Paused() {
    return {
        {"again after a rollback and half of the backoff", {}, [](Story& s) { ReadAgain(s, 500, 1, 72); }},
        {"again after the second attempt, which takes twice as long", {}, [](Story& s) { ReadAgain(s, 500, 2, 122); }},
        {"again when the backoff has reached its longest", {}, [](Story& s) { ReadAgain(s, 500, 9, 172); }},
        {"again when the lease is over, though the backoff is longer", {}, [](Story& s) { ReadAgain(s, 30, 1, 40); }},
        {"again at once, since a crash has forgotten it",
         {},
         [](Story& s) {
             ReadAgain(s, 500, 1, 50);
             s.Crash(25, 40);
         }},
        {"too soon after a rollback", Fault::kEarly, [](Story& s) { ReadAgain(s, 500, 1, 60); }},
        {"too soon after the second attempt", Fault::kEarly, [](Story& s) { ReadAgain(s, 500, 2, 80); }},
        {"too soon after the ninth", Fault::kEarly, [](Story& s) { ReadAgain(s, 500, 9, 150); }},
    };
}

}  // namespace

std::vector<Case> RedriveCases() {
    std::vector<Case> all = Redriven();
    for (Case& one : Paused()) all.push_back(std::move(one));
    return all;
}

}  // namespace torture
