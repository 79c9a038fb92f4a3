// Journals of messages with groups: with a fault in each, and right ones.
#include "story.hpp"

namespace torture {

namespace {

using enum ActKind;

std::vector<Case> OutOfOrder() {
    return {
        {"the second of a group, the first not yet read", Fault::kGroupOrder,
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.SentTo(1, 2, 2, 3);
             s.ReadOf(1, 2, 7, 1, 10, 11, 20);
             s.AckOf(2, 7, 12, 13);
             s.DrainedOf(1, 1);
         }},
        {"the second, the first one's lease has run out", Fault::kGroupOrder,
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.SentTo(1, 2, 2, 3);
             s.ReadOf(1, 1, 6, 1, 10, 11, 20);
             s.ReadOf(1, 2, 7, 1, 30, 31, 40);
             s.AckOf(2, 7, 32, 33);
             s.DrainedOf(1, 1, 2);
         }},
        {"the second, the first one's lease lost in a crash", Fault::kGroupOrder,
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.SentTo(1, 2, 2, 3);
             s.ReadOf(1, 1, 6, 1, 10, 11, 20);
             s.Crash(12, 25);
             s.ReadOf(1, 2, 7, 1, 30, 31, 40);
             s.AckOf(2, 7, 32, 33);
             s.DrainedOf(1, 1, 2);
         }},
        {"the second, the first one's ack not committed", Fault::kGroupOrder,
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.SentTo(1, 2, 2, 3);
             const TxId tx = s.Committed(9, 50, 51);
             s.ReadOf(1, 1, 6, 1, tx, 10, 11, 20);
             s.Do(kDelete, 1, 6, Answer::kYes, tx, 12, 13, 0, kFifo);
             s.ReadOf(1, 2, 7, 1, 30, 31, 40);
             s.AckOf(2, 7, 60, 61);
         }},
        {"the second, to the transaction that acked the first", Fault::kGroupOrder,
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.SentTo(1, 2, 2, 3);
             const TxId tx = s.Committed(9, 50, 51);
             s.ReadOf(1, 1, 6, 1, tx, 10, 11, 20);
             s.Do(kDelete, 1, 6, Answer::kYes, tx, 12, 13, 0, kFifo);
             s.ReadOf(1, 2, 7, 1, tx, 14, 15, 40);
             s.Do(kDelete, 2, 7, Answer::kYes, tx, 16, 17, 0, kFifo);
         }},
        {"the second, the first one's ack was rolled back", Fault::kGroupOrder,
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.SentTo(1, 2, 2, 3);
             const TxId tx = s.RolledBack(9, 14, 15);
             s.ReadOf(1, 1, 6, 1, tx, 10, 11, 20);
             s.Do(kDelete, 1, 6, Answer::kYes, tx, 12, 13, 0, kFifo);
             s.ReadOf(1, 2, 7, 1, 30, 31, 40);
             s.AckOf(2, 7, 32, 33);
             s.DrainedOf(1, 1, 2);
         }},
        {"the second, the first one's ack prepared", Fault::kGroupOrder,
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.SentTo(1, 2, 2, 3);
             const TxId tx = s.Prepared(9, 14, 15, Outcome::kCommitted, 90, 91);
             s.ReadOf(1, 1, 6, 1, tx, 10, 11, 20);
             s.Do(kDelete, 1, 6, Answer::kYes, tx, 12, 13, 0, kFifo);
             s.ReadOf(1, 2, 7, 1, 30, 31, 40);
             s.AckOf(2, 7, 32, 33);
         }},
        {"the second, the first was read and only killed", Fault::kGroupOrder,
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.SentTo(1, 2, 2, 3);
             s.ReadOf(1, 1, 6, 1, s.Lost(9, 14), 10, 11, 100);
             s.ReadOf(1, 2, 7, 1, 30, 31, 40);
             s.AckOf(2, 7, 32, 33);
             s.DrainedOf(1, 1, 2);
         }},
        {"the second, the first delayed", Fault::kGroupOrder,
         [](Story& s) {
             s.SendTo(1, 1, s.Auto(0, 1), 0, 1, 500);
             s.SentTo(1, 2, 2, 3);
             s.ReadOf(1, 2, 7, 1, 10, 11, 20);
             s.AckOf(2, 7, 12, 13);
             s.DrainedOf(1, 1);
         }},
        {"the second, the first given back with a delay", Fault::kGroupOrder,
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.SentTo(1, 2, 2, 3);
             s.ReadOf(1, 1, 6, 1, 10, 11, 100);
             s.DoOf(kNack, 1, 6, 12, 13, 500);
             s.ReadOf(1, 2, 7, 1, 30, 31, 40);
             s.AckOf(2, 7, 32, 33);
             s.DrainedOf(1, 1, 2);
         }},
        {"the second popped", Fault::kGroupOrder,
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.SentTo(1, 2, 2, 3);
             Take& take = s.ReadOf(1, 2, 0, 1, 10, 11, 0);
             take.kind = TakeKind::kPop;
             s.DrainedOf(1, 1);
         }},
        {"one answer in the wrong order", Fault::kGroupOrder,
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.SentTo(1, 2, 2, 3);
             const TxId tx = s.Auto(10, 11);
             s.ReadOf(1, 2, 7, 1, tx, 10, 11, 60);
             s.ReadOf(1, 1, 6, 1, tx, 10, 11, 60);
             s.AckOf(1, 6, 12, 13);
             s.AckOf(2, 7, 14, 15);
         }},
        {"of one transaction, the second first", Fault::kGroupOrder,
         [](Story& s) {
             const TxId tx = s.Committed(0, 20, 21);
             s.SendTo(1, 1, tx, 1, 2);
             s.SendTo(1, 2, tx, 3, 4);
             s.ReadOf(1, 2, 7, 1, 30, 31, 40);
             s.AckOf(2, 7, 32, 33);
             s.DrainedOf(1, 1);
         }},
        {"of one batch, the second first", Fault::kGroupOrder,
         [](Story& s) {
             const TxId tx = s.Auto(0, 1);
             s.SendTo(1, 1, tx, 0, 1);
             s.SendTo(1, 2, tx, 0, 1);
             s.ReadOf(1, 2, 7, 1, 30, 31, 40);
             s.AckOf(2, 7, 32, 33);
             s.DrainedOf(1, 1);
         }},
        {"sent before and committed before the read", Fault::kGroupOrder,
         [](Story& s) {
             s.SendTo(1, 1, s.Committed(0, 20, 21), 0, 1);
             s.SentTo(1, 2, 2, 3);
             s.ReadOf(1, 2, 7, 1, 30, 31, 40);
             s.AckOf(2, 7, 32, 33);
             s.DrainedOf(1, 1);
         }},
        {"by a read that waited for the second one", Fault::kGroupOrder,
         [](Story& s) {
             s.SentTo(1, 1, 5, 6);
             s.SentTo(1, 2, 7, 8);
             s.ReadOf(1, 2, 7, 1, 0, 11, 20);
             s.AckOf(2, 7, 32, 33);
             s.DrainedOf(1, 1);
         }},
        {"the first one still in the table at the end", Fault::kGroupOrder,
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.SentTo(1, 2, 2, 3);
             s.ReadOf(1, 2, 7, 1, 10, 11, 20);
             s.AckOf(2, 7, 12, 13);
             s.j.leftovers.push_back({1, kFifo});
         }},
        {"the second, the first has an attempt left", Fault::kGroupOrder,
         [](Story& s) {
             s.SentTo(1, 1, 0, 1, kFifoTries);
             s.SentTo(1, 2, 2, 3, kFifoTries);
             s.ReadOf(1, 1, 6, 1, 10, 11, 20, kFifoTries);
             s.ReadOf(1, 2, 7, 1, 30, 31, 40, kFifoTries);
             s.AckOf(2, 7, 32, 33, kFifoTries);
             s.DrainedOf(1, 1, 2, kFifoTries);
         }},
        {"handed out under another group's key", Fault::kMixedUp,
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.DrainedOf(2, 1);
         }},
        {"in the archive under another group's key", Fault::kArchive,
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.DoOf(kArchive, 1, 0, 10, 11);
             s.j.archived.push_back({Story::Uid(1), 1, kFifo, true, 2});
         }},
    };
}

// Two that no sender can put in order.
void SendTwo(Story& s, std::uint16_t queue = kFifo) {
    s.SentTo(1, 1, 0, 2, queue);
    s.SentTo(1, 2, 1, 3, queue);
}

std::vector<Case> InTwoPlaces() {
    return {
        {"another of the group during a lease", Fault::kGroupTwice,
         [](Story& s) {
             SendTwo(s);
             s.ReadOf(1, 1, 6, 1, 10, 11, 100);
             s.ReadOf(1, 2, 7, 1, 20, 21, 50);
             s.AckOf(2, 7, 22, 23);
             s.AckOf(1, 6, 60, 61);
         }},
        {"an earlier one of the group during a lease", Fault::kGroupTwice,
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.SentTo(1, 2, 2, 3);
             const TxId tx = s.Auto(10, 11);
             s.ReadOf(1, 1, 6, 1, tx, 10, 11, 100);
             s.ReadOf(1, 2, 7, 1, tx, 10, 11, 100);
             s.DoOf(kNack, 1, 6, 12, 13);
             s.ReadOf(1, 1, 8, 2, 20, 21, 50);
             s.AckOf(1, 8, 22, 23);
             s.AckOf(2, 7, 24, 25);
         }},
        {"two reads at one time", Fault::kGroupTwice,
         [](Story& s) {
             SendTwo(s);
             s.ReadOf(1, 1, 6, 1, 10, 20, 100);
             s.ReadOf(1, 2, 7, 1, 11, 21, 100);
             s.AckOf(2, 7, 32, 33);
             s.AckOf(1, 6, 60, 61);
         }},
        {"popped during another one's lease", Fault::kGroupTwice,
         [](Story& s) {
             SendTwo(s);
             s.ReadOf(1, 1, 6, 1, 10, 11, 100);
             s.ReadOf(1, 2, 0, 1, 20, 21, 0).kind = TakeKind::kPop;
             s.AckOf(1, 6, 60, 61);
         }},
        {"within the transaction that has the other", Fault::kGroupTwice,
         [](Story& s) {
             SendTwo(s);
             const TxId tx = s.Committed(9, 90, 91);
             s.ReadOf(1, 1, 6, 1, tx, 10, 11, 100);
             s.ReadOf(1, 2, 7, 1, tx, 20, 21, 50);
             s.Do(kDelete, 2, 7, Answer::kYes, tx, 22, 23, 0, kFifo);
             s.Do(kDelete, 1, 6, Answer::kYes, tx, 24, 25, 0, kFifo);
         }},
        {"while a heartbeat prolongs the lease", Fault::kGroupTwice,
         [](Story& s) {
             SendTwo(s);
             s.ReadOf(1, 1, 6, 1, 10, 11, 30);
             s.DoOf(kSetVt, 1, 6, 12, 13, 60).got_receipt = 6;
             s.DoOf(kSetVt, 1, 0, 14, 15, 100).got_receipt = 6;
             s.ReadOf(1, 2, 7, 1, 70, 71, 80);
             s.AckOf(2, 7, 72, 73);
             s.DrainedOf(1, 1, 2);
         }},
        {"a flushed lease forgotten by a crash", Fault::kGroupTwice,
         [](Story& s) {
             SendTwo(s);
             s.ReadOf(1, 1, 6, 1, 10, 11, 500);
             s.Sent(3);
             s.Ack(3, 0, 15, 16);
             s.Crash(20, 30);
             s.ReadOf(1, 2, 7, 1, 40, 41, 80);
             s.AckOf(2, 7, 72, 73);
             s.DrainedOf(1, 1, 2);
         }},
        {"though the other one's ack was rolled back", Fault::kGroupTwice,
         [](Story& s) {
             SendTwo(s);
             s.ReadOf(1, 1, 6, 1, 10, 11, 500);
             s.Do(kDelete, 1, 6, Answer::kYes, s.RolledBack(11, 14, 15), 12, 13, 0, kFifo);
             s.ReadOf(1, 2, 7, 1, 40, 41, 80);
             s.AckOf(2, 7, 72, 73);
             s.DrainedOf(1, 1, 2);
         }},
        {"before the other one's ack is committed", Fault::kGroupTwice,
         [](Story& s) {
             SendTwo(s);
             s.ReadOf(1, 1, 6, 1, 10, 11, 500);
             s.Do(kDelete, 1, 6, Answer::kYes, s.Committed(11, 90, 91), 12, 13, 0, kFifo);
             s.ReadOf(1, 2, 7, 1, 40, 41, 80);
             s.AckOf(2, 7, 92, 93);
         }},
        {"by groups, of a queue that isn't fifo", Fault::kGroupTwice,
         [](Story& s) {
             SendTwo(s, kGrouped);
             s.ReadOf(1, 1, 6, 1, 10, 11, 100, kGrouped);
             s.ReadOf(1, 2, 7, 1, 20, 21, 50, kGrouped);
             s.AckOf(2, 7, 22, 23, kGrouped);
             s.AckOf(1, 6, 60, 61, kGrouped);
         }},
        {"by groups, while one read without is at it", Fault::kGroupTwice,
         [](Story& s) {
             SendTwo(s);
             s.ReadOf(1, 1, 6, 1, 10, 11, 100).grouped = false;
             s.ReadOf(1, 2, 7, 1, 20, 21, 50);
             s.AckOf(2, 7, 22, 23);
             s.AckOf(1, 6, 60, 61);
         }},
    };
}

std::vector<Case> Right() {
    return {
        {"a group, one after the other",
         {},
         [](Story& s) {
             for (int id = 1; id <= 5; ++id) s.SentTo(1, id, 2 * id, 2 * id + 1);
             for (int id = 1; id <= 5; ++id) s.DrainedOf(1, id);
         }},
        {"several of a group in one answer",
         {},
         [](Story& s) {
             const TxId sends = s.Auto(0, 1);
             s.SendTo(1, 1, sends, 0, 1);
             s.SendTo(1, 2, sends, 0, 1);
             s.SentTo(1, 3, 2, 3);
             const TxId tx = s.Auto(10, 11);
             for (int id = 1; id <= 3; ++id) s.ReadOf(1, id, id, 1, tx, 10, 11, 100);
             for (int id = 1; id <= 3; ++id) s.AckOf(id, id, 12, 13);
         }},
        {"other groups, and none, don't wait",
         {},
         [](Story& s) {
             for (int id = 1; id <= 3; ++id) s.SentTo(static_cast<GroupNo>(id), id, 2 * id, 2 * id + 1);
             s.SentTo(kNoGroup, 4, 8, 9);
             s.SentTo(kNoGroup, 5, 10, 11);
             for (int id = 5; id >= 4; --id) s.ReadOf(kNoGroup, id, id, 1, 20, 21, 100);
             for (int id = 3; id >= 1; --id) s.ReadOf(static_cast<GroupNo>(id), id, id, 1, 20, 21, 100);
             for (int id = 1; id <= 5; ++id) s.AckOf(id, id, 22, 23);
         }},
        {"the second, the first was tried often enough and is dropped in a transaction that is rolled back",
         {},
         [](Story& s) {
             s.SentTo(1, 1, 0, 1, kFifoTries);
             s.SentTo(1, 2, 2, 3, kFifoTries);
             s.ReadOf(1, 1, 6, 1, 10, 11, 20, kFifoTries);
             s.ReadOf(1, 1, 7, 2, 30, 31, 40, kFifoTries);
             s.ReadOf(1, 2, 8, 1, s.RolledBack(50, 52, 53), 50, 51, 100, kFifoTries);
             s.AckOf(1, 0, 60, 61, kFifoTries);
             s.DrainedOf(1, 2, 2, kFifoTries);
         }},
        {"two whose order nobody knows, the second first",
         {},
         [](Story& s) {
             SendTwo(s);
             s.ReadOf(1, 2, 7, 1, 10, 11, 50);
             s.AckOf(2, 7, 12, 13);
             s.DrainedOf(1, 1);
         }},
        {"the first not yet committed",
         {},
         [](Story& s) {
             s.SendTo(1, 1, s.Committed(0, 12, 40), 0, 1);
             s.SentTo(1, 2, 2, 3);
             s.ReadOf(1, 2, 7, 1, 10, 11, 15);
             s.AckOf(2, 7, 12, 13);
             s.DrainedOf(1, 1);
         }},
        {"the first sent by a transaction of unknown fate",
         {},
         [](Story& s) {
             s.SendTo(1, 1, s.Unknown(0, 2, 3), 0, 1);
             s.SentTo(1, 2, 4, 5);
             s.ReadOf(1, 2, 7, 1, 10, 11, 15);
             s.AckOf(2, 7, 12, 13);
             s.DrainedOf(1, 1);
         }},
        {"the first rolled back",
         {},
         [](Story& s) {
             s.SendTo(1, 1, s.RolledBack(0, 2, 3), 0, 1);
             const TxId tx = s.Committed(5, 20, 21);
             s.SendTo(1, 2, s.Savepoint(tx, Outcome::kRolledBack, 6, 9, 10), 7, 8);
             s.SendTo(1, 3, tx, 11, 12);
             s.DrainedOf(1, 3);
         }},
        {"the first gone: by plain SQL, an archive, a pop",
         {},
         [](Story& s) {
             for (int id = 1; id <= 4; ++id) s.SentTo(1, id, 2 * id, 2 * id + 1);
             s.DoOf(kSqlDelete, 1, 0, 10, 11);
             s.ReadOf(1, 2, 7, 1, 12, 13, 60);
             s.DoOf(kArchive, 2, 7, 14, 15);
             s.j.archived.push_back({Story::Uid(2), 2, kFifo, true, 1});
             s.ReadOf(1, 3, 0, 1, 16, 17, 0).kind = TakeKind::kPop;
             s.DrainedOf(1, 4);
         }},
        {"the first gone, while its ack is being committed",
         {},
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.SentTo(1, 2, 2, 3);
             const TxId tx = s.Committed(9, 20, 40);
             s.ReadOf(1, 1, 6, 1, tx, 10, 11, 100);
             s.Do(kDelete, 1, 6, Answer::kYes, tx, 12, 13, 0, kFifo);
             s.ReadOf(1, 2, 7, 1, 15, 25, 60);
             s.AckOf(2, 7, 50, 51);
         }},
        {"the first gone with a COMMIT that nobody answered",
         {},
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.SentTo(1, 2, 2, 3);
             const TxId tx = s.Unknown(9, 20, 21);
             s.ReadOf(1, 1, 6, 1, tx, 10, 11, 100);
             s.Do(kDelete, 1, 6, Answer::kYes, tx, 12, 13, 0, kFifo);
             s.ReadOf(1, 2, 7, 1, 30, 31, 60);
             s.AckOf(2, 7, 50, 51);
         }},
        {"the first taken by a pop that nobody answered",
         {},
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.SentTo(1, 2, 2, 3);
             s.BlindRead(10, 20, true, 1);
             s.j.blinds.back().queue = kFifo;
             s.ReadOf(1, 2, 7, 1, 30, 31, 60);
             s.AckOf(2, 7, 50, 51);
         }},
        {"a group's lease that ran out, and one given back",
         {},
         [](Story& s) {
             SendTwo(s);
             s.ReadOf(1, 1, 6, 1, 10, 11, 20);
             s.ReadOf(1, 2, 7, 1, s.RolledBack(29, 40, 41), 30, 31, 500);
             s.ReadOf(1, 1, 8, 2, 42, 43, 60);
             s.AckOf(1, 8, 44, 45);
             s.DrainedOf(1, 2, 2);
         }},
        {"a group's lease lost in a crash",
         {},
         [](Story& s) {
             SendTwo(s);
             s.ReadOf(1, 1, 6, 1, 10, 11, 500);
             s.Crash(20, 30);
             s.ReadOf(1, 2, 7, 1, 40, 41, 80);
             s.AckOf(2, 7, 72, 73);
             s.DrainedOf(1, 1, 2);
         }},
        {"a heartbeat after the lease had run out",
         {},
         [](Story& s) {
             SendTwo(s);
             s.ReadOf(1, 1, 6, 1, 10, 11, 20);
             s.DoOf(kSetVt, 1, 6, 30, 31, 500).got_receipt = 6;
             s.ReadOf(1, 2, 7, 1, 40, 41, 80);
             s.AckOf(2, 7, 42, 43);
             s.DrainedOf(1, 1, 2);
         }},
        {"an unlogged group emptied by a crash",
         {},
         [](Story& s) {
             s.SentTo(1, 1, 0, 1, kUnloggedFifo);
             s.Do(kDelete, 1, 0, Answer::kYes, s.Prepared(3, 6, 7, Outcome::kCommitted, 90, 91), 4, 5, 0,
                  kUnloggedFifo);
             s.Crash(20, 30);
             s.SentTo(1, 2, 40, 41, kUnloggedFifo);
             s.ReadOf(1, 2, 7, 1, 50, 51, 80, kUnloggedFifo);
             s.AckOf(2, 7, 52, 53, kUnloggedFifo);
         }},
        {"without groups, or not fifo, in any order",
         {},
         [](Story& s) {
             s.SentTo(1, 1, 0, 1);
             s.SentTo(1, 2, 2, 3);
             s.ReadOf(1, 2, 7, 1, 10, 11, 20).grouped = false;
             s.AckOf(2, 7, 12, 13);
             s.DrainedOf(1, 1);
             s.SentTo(1, 3, 0, 1, kGrouped);
             s.SentTo(1, 4, 2, 3, kGrouped);
             s.DrainedOf(1, 4, 1, kGrouped);
             s.ReadOf(1, 3, 8, 1, 100'950, 100'951, 101'000, kGrouped);
             s.AckOf(3, 8, 100'952, 100'953, kGrouped);
         }},
    };
}

}  // namespace

std::vector<Case> GroupCases() {
    std::vector<Case> all = OutOfOrder();
    for (Case& one : InTwoPlaces()) all.push_back(std::move(one));
    for (Case& one : Right()) all.push_back(std::move(one));
    return all;
}

}  // namespace torture
