// Journals in which all is well, though it may not look so.
#include "story.hpp"

namespace torture {

namespace {

using enum ActKind;
constexpr Answer kYes = Answer::kYes;
constexpr Answer kNo = Answer::kNo;

}  // namespace

std::vector<Case> SoundCases() {
    return {
        {"send, read, ack",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Drained(1);
         }},
        {"sent, read and acked in one transaction",
         {},
         [](Story& s) {
             const TxId tx = s.Committed(0, 50, 51);
             s.Send(1, tx, 1, 2);
             s.Read(1, 7, 1, tx, 3, 4, 500);
             s.Do(kDelete, 1, 7, kYes, tx, 5, 6);
         }},
        {"the same, rolled back",
         {},
         [](Story& s) {
             const TxId tx = s.RolledBack(0, 50, 51);
             s.Send(1, tx, 1, 2);
             s.Read(1, 7, 1, tx, 3, 4, 500);
             s.Do(kDelete, 1, 7, kYes, tx, 5, 6);
         }},
        {"the id of a rolled-back send comes again after a crash",
         {},
         [](Story& s) {
             s.Send(1, s.RolledBack(0, 5, 6), 0, 1);
             s.Crash(10, 20);
             s.j.sends.push_back({Story::Uid(2), 1, s.Auto(30, 31), 0, Story::T(30), Story::T(31), 0});
             s.Read(1, 7, 1, 40, 41, 100).uid = Story::Uid(2);
             s.Ack(1, 7, 50, 51);
         }},
        {"a lease that ran out",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 100);
             s.Drained(1, 9999, 2);
         }},
        {"taken again by a read that was waiting since before",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 100);
             s.Read(1, 8, 2, 5, 101, 200);
             s.Drained(1, 9999, 3);
         }},
        {"given back by a rollback",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, s.RolledBack(9, 20, 25), 10, 11, 1000);
             s.Read(1, 8, 2, 21, 22, 300);
             s.Ack(1, 8, 30, 31);
         }},
        {"given back by a rollback to a savepoint",
         {},
         [](Story& s) {
             s.Sent(1);
             const TxId tx = s.Committed(5, 90, 91);
             s.Read(1, 7, 1, s.Savepoint(tx, Outcome::kRolledBack, 8, 20, 21), 10, 11, 1000);
             s.Read(1, 8, 2, tx, 30, 31, 300);
             s.Do(kDelete, 1, 8, kYes, tx, 40, 41);
         }},
        {"gone with its savepoint, and acked in vain",
         {},
         [](Story& s) {
             const TxId tx = s.Committed(0, 30, 31);
             const TxId savepoint = s.Savepoint(tx, Outcome::kRolledBack, 1, 8, 9);
             s.Send(1, savepoint, 2, 3, 0, kPausing);
             s.Read(1, 7, 1, savepoint, 4, 5, 200, kPausing);
             s.Do(kDelete, 1, 7, kNo, tx, 12, 13, 0, kPausing);
         }},
        {"given back by a kill, noticed later",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, s.Lost(9, 20), 10, 11, 1000);
             s.Read(1, 8, 2, 21, 22, 300);
             s.Ack(1, 8, 30, 31);
         }},
        {"given back, the COMMIT interrupted",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, s.Unknown(9, 20, 15), 10, 11, 1000);
             s.Read(1, 8, 2, 17, 18, 300);
             s.Ack(1, 8, 30, 31);
         }},
        {"given back by a nack",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 1000);
             s.Do(kNack, 1, 7, kYes, 20, 25);
             s.Read(1, 8, 2, 21, 22, 300);
             s.Ack(1, 8, 30, 31);
         }},
        {"given back by a set_vt without receipt, rolled back",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 1000);
             s.Do(kSetVt, 1, 0, kYes, s.RolledBack(19, 40, 41), 20, 21, 21);
             s.Read(1, 8, 2, 22, 23, 300);
             s.Ack(1, 8, 30, 31);
         }},
        {"given back by a nack whose answer was lost",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 1000);
             s.Do(kNack, 1, 7, Answer::kUnknown, s.Unknown(20, 20, 22), 20, 25);
             s.Read(1, 8, 2, 23, 24, 300);
             s.Ack(1, 8, 30, 31);
         }},
        {"the reader's rollback after somebody's set_vt of that lease",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, s.RolledBack(9, 40, 41), 10, 11, 1000);
             s.Do(kSetVt, 1, 0, kYes, 20, 21, 2000).got_receipt = 7;
             s.Read(1, 8, 2, 50, 51, 300);
             s.Ack(1, 8, 60, 61);
         }},
        {"an unseen reader's rollback after somebody's nack",
         {},
         [](Story& s) {
             s.Sent(1);
             s.BlindRead(10, 30);
             s.Do(kNack, 1, 0, kYes, 20, 21, 2000);
             s.Read(1, 8, 2, 50, 51, 300);
             s.Ack(1, 8, 60, 61);
         }},
        {"a lease lost in a crash",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 1000);
             s.Crash(20, 30);
             s.Read(1, 8, 1, 40, 41, 300);
             s.Ack(1, 8, 50, 51);
         }},
        {"a lease taken while the server went down",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Sent(2);
             s.Crash(20, 30);
             s.Read(1, 7, 1, 21, 22, 1000);
             s.Ack(2, 0, 23, 24);
             s.Read(1, 8, 1, 40, 41, 300);
             s.Ack(1, 8, 50, 51);
         }},
        {"a commit that does not flush: unlogged",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 1000);
             s.Send(2, s.Auto(15, 16), 15, 16, 0, 1);
             s.Crash(20, 30);
             s.Read(1, 8, 1, 40, 41, 300);
             s.Ack(1, 8, 50, 51);
         }},
        {"a flushed lease kept by a crash",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 1000);
             s.Sent(2);
             s.Ack(2, 0, 15, 16);
             s.Crash(20, 30);
             s.Ack(1, 7, 40, 41);
         }},
        {"an unlogged queue emptied by a crash",
         {},
         [](Story& s) {
             s.Sent(1, 1);
             s.Crash(20, 30);
         }},
        {"an unlogged queue emptied between PREPARE and COMMIT PREPARED",
         {},
         [](Story& s) {
             s.Send(1, s.Prepared(0, 5, 6, Outcome::kCommitted, 50, 51), 1, 2, 0, 1);
             s.Crash(20, 30);
         }},
        {"leased again by a read that answered before the one that was acked",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 15, 20);
             s.Read(1, 8, 2, 12, 40, 20);
             s.Ack(1, 8, 45, 46);
         }},
        {"leased again after the ack was rolled back, then removed with the new receipt",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 20);
             s.Do(kDelete, 1, 7, kYes, s.RolledBack(29, 34, 35), 30, 33);
             s.Read(1, 8, 2, 32, 38, 100);
             s.Ack(1, 8, 40, 41);
         }},
        {"an ack whose COMMIT was lost, done",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Do(kDelete, 1, 0, kYes, s.Unknown(5, 20, 21), 10, 11);
         }},
        {"an ack whose COMMIT was lost, undone",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Do(kDelete, 1, 0, kYes, s.Unknown(5, 20, 21), 10, 11);
             s.Drained(1);
         }},
        {"a send whose COMMIT was lost, done",
         {},
         [](Story& s) {
             s.Send(1, s.Unknown(0, 20, 21), 1, 2);
             s.Drained(1);
         }},
        {"a send whose COMMIT was lost, undone", {}, [](Story& s) { s.Send(1, s.Unknown(0, 20, 21), 1, 2); }},
        {"a batch whose answer was lost, undone",
         {},
         [](Story& s) {
             const TxId tx = s.Unknown(0, 0, 5);
             s.j.sends.push_back({Story::Uid(1), 0, tx, 0, Story::T(0), Story::T(6), 0});
             s.j.sends.push_back({Story::Uid(2), 0, tx, 0, Story::T(0), Story::T(6), 0});
         }},
        {"a pop whose answer was lost",
         {},
         [](Story& s) {
             s.Sent(1);
             s.BlindRead(10, 20, true, 1);
         }},
        {"a stale receipt refused, then the message drained",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 20);
             s.Read(1, 8, 2, 30, 31, 100);
             s.Do(kDelete, 1, 7, kNo, 40, 41);
             s.Ack(1, 8, 50, 51);
         }},
        {"a receipt outlived its lease, and nobody came",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 20);
             s.Ack(1, 7, 40, 41);
         }},
        {"a receipt accepted in place of one that a crash forgot",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Sent(2);
             s.Read(1, 7, 1, 2, 3, 6);
             s.Ack(2, 0, 10, 11);
             s.Read(1, 8, 2, 12, 13, 1000);
             s.Crash(20, 30);
             s.Ack(1, 7, 40, 41);
         }},
        {"a good receipt refused: somebody else was deleting it",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 1000);
             s.Do(kSqlDelete, 1, 0, kYes, s.Committed(15, 50, 51), 20, 21);
             s.Do(kDelete, 1, 7, kNo, 30, 52);
         }},
        {"a good receipt refused: to others the message wasn't there yet",
         {},
         [](Story& s) {
             const TxId tx = s.Committed(0, 50, 51);
             s.Send(1, tx, 1, 2);
             s.Read(1, 7, 1, tx, 10, 11, 1000);
             s.Do(kDelete, 1, 7, kNo, 30, 31);
             s.Ack(1, 7, 60, 61);
         }},
        {"an ack in a prepared transaction",
         {},
         [](Story& s) {
             s.Sent(1);
             const TxId tx = s.Prepared(5, 14, 15, Outcome::kCommitted, 90, 91);
             s.Read(1, 7, 1, tx, 10, 11, 50);
             s.Do(kDelete, 1, 7, kYes, tx, 12, 13);
             s.Crash(20, 30);
         }},
        {"a delayed message made due by set_vt",
         {},
         [](Story& s) {
             s.Send(1, s.Auto(0, 1), 0, 1, 5000);
             s.Do(kSetVt, 1, 0, kYes, 10, 11, 12);
             s.Read(1, 7, 1, 20, 21, 100);
             s.Ack(1, 7, 30, 31);
         }},
        {"read_ct falls back where a crash forgot leases",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 12);
             s.Read(1, 8, 2, 13, 14, 15);
             s.Crash(20, 30);
             s.Read(1, 9, 1, 40, 41, 100);
             s.Ack(1, 9, 50, 51);
         }},
        {"read_ct counts a read whose answer was lost",
         {},
         [](Story& s) {
             s.Sent(1);
             s.BlindRead(10, 20);
             s.Drained(1, 9999, 2);
         }},
        {"an archive call rolled back, the next one not",
         {},
         [](Story& s) {
             s.Sent(1);
             s.Do(kArchive, 1, 0, kYes, s.RolledBack(5, 15, 16), 10, 11);
             s.Do(kArchive, 1, 0, kYes, 20, 21);
             s.Archived(1);
         }},
    };
}

}  // namespace torture
