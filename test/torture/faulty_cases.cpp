// Journals with a fault in each.
#include "story.hpp"

namespace torture {

namespace {

using enum ActKind;
constexpr Answer kYes = Answer::kYes;
constexpr Answer kNo = Answer::kNo;

std::vector<Case> LossesAndGhosts() {
    return {
        {"a committed send is gone", Fault::kLost, [](Story& s) { s.Sent(1); }},
        {"gone after an ack that was rolled back", Fault::kLost,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 100);
             s.Do(kDelete, 1, 7, kYes, s.RolledBack(20, 30, 31), 20, 21);
         }},
        {"more is gone than lost pops explain", Fault::kLost,
         [](Story& s) {
             s.Sent(1);
             s.Sent(2);
             s.BlindRead(10, 20, true, 1);
         }},
        {"an unlogged message gone without a crash", Fault::kLost, [](Story& s) { s.Sent(1, 1); }},
        {"an unlogged message gone, sent after the crash", Fault::kLost,
         [](Story& s) {
             s.Crash(10, 20);
             s.Send(1, s.Auto(30, 31), 30, 31, 0, 1);
         }},
        {"a prepared transaction vanished", Fault::kLost,
         [](Story& s) {
             const TxId tx = s.Prepared(0, 5, 6, Outcome::kRolledBack, 50, 51, false);
             s.Send(1, tx, 1, 2);
         }},
        {"archived perhaps, but nowhere", Fault::kLost,
         [](Story& s) {
             s.Sent(1);
             s.Do(kArchive, 1, 0, Answer::kUnknown, s.Unknown(10, 10, 12), 10, 13);
         }},
        {"back after a committed ack", Fault::kCameBack,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 100);
             s.Ack(1, 7, 20, 21);
             s.Read(1, 8, 2, 30, 31, 60);
         }},
        {"back after a crash", Fault::kCameBack,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 100);
             s.Ack(1, 7, 20, 21);
             s.Crash(30, 40);
             s.Read(1, 8, 2, 50, 51, 60);
         }},
        {"back after a pop", Fault::kCameBack,
         [](Story& s) {
             s.Sent(1);
             s.Pop(1, s.Auto(10, 11), 10, 11);
             s.Peek(1, 20, 21);
         }},
        {"acked and still in the table", Fault::kCameBack,
         [](Story& s) {
             s.Sent(1);
             s.Do(kSqlDelete, 1, 0, kYes, 10, 11);
             s.j.leftovers.push_back({1, 0});
         }},
        {"acked in an earlier round", Fault::kCameBack,
         [](Story& s) {
             s.j.takes.push_back(
                 {5, 3, 7, 2, s.Auto(1, 2), 0, TakeKind::kRead, true, true, Story::T(1), Story::T(2), 0});
         }},
        {"from a rolled-back transaction", Fault::kPhantom,
         [](Story& s) {
             s.Send(1, s.RolledBack(0, 5, 6), 0, 1);
             s.Drained(1);
         }},
        {"from a transaction whose connection died", Fault::kPhantom,
         [](Story& s) {
             s.Send(1, s.Lost(0, 20), 0, 1);
             s.Drained(1);
         }},
        {"from a rolled-back savepoint", Fault::kPhantom,
         [](Story& s) {
             const TxId tx = s.Committed(0, 30, 31);
             s.Send(1, s.Savepoint(tx, Outcome::kRolledBack, 1, 5, 6), 2, 3);
             s.Read(1, 7, 1, tx, 10, 11, 60);
             s.Do(kDelete, 1, 7, kYes, tx, 12, 13);
         }},
        {"from nobody", Fault::kPhantom, [](Story& s) { s.Drained(1); }},
        {"ROLLBACK PREPARED and yet there", Fault::kPhantom,
         [](Story& s) {
             s.Send(1, s.Prepared(0, 5, 6, Outcome::kRolledBack, 50, 51), 1, 2);
             s.Drained(1);
         }},
        {"seen before its COMMIT", Fault::kUncommitted,
         [](Story& s) {
             s.Send(1, s.Committed(0, 50, 51), 0, 1);
             s.Read(1, 7, 1, 10, 11, 40);
             s.Drained(1, 9999, 2);
         }},
        {"deleted before its COMMIT", Fault::kUncommitted,
         [](Story& s) {
             s.Send(1, s.Committed(0, 50, 51), 0, 1);
             s.Ack(1, 0, 10, 11);
         }},
        {"seen before COMMIT PREPARED", Fault::kUncommitted,
         [](Story& s) {
             s.Send(1, s.Prepared(0, 5, 6, Outcome::kCommitted, 50, 51), 1, 2);
             s.Read(1, 7, 1, 20, 21, 40);
             s.Drained(1, 9999, 2);
         }},
        {"due and never handed out", Fault::kStuck,
         [](Story& s) {
             s.Sent(1);
             s.j.leftovers.push_back({1, 0});
         }},
    };
}

std::vector<Case> Exclusion() {
    return {
        {"handed out while leased", Fault::kTwoHolders,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 100);
             s.Read(1, 8, 2, 50, 51, 150);
             s.Drained(1, 9999, 3);
         }},
        {"two reads at one time", Fault::kTwoHolders,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 20, 100);
             s.Read(1, 8, 2, 11, 21, 100);
             s.Drained(1, 9999, 3);
         }},
        {"popped while leased", Fault::kTwoHolders,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 100);
             s.Pop(1, s.Auto(30, 31), 30, 31);
         }},
        {"handed out in the reader's transaction", Fault::kTwoHolders,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, s.RolledBack(5, 60, 61), 10, 11, 100);
             s.Read(1, 8, 2, 50, 51, 150);
             s.Drained(1, 9999, 3);
         }},
        {"handed out though an ack was rolled back", Fault::kTwoHolders,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 100);
             s.Do(kDelete, 1, 7, kYes, s.RolledBack(15, 30, 31), 20, 21);
             s.Read(1, 8, 2, 40, 41, 150);
             s.Drained(1, 9999, 3);
         }},
        {"handed out in spite of a refused nack", Fault::kTwoHolders,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 6, 1, 2, 3, 5);
             s.Read(1, 7, 2, 10, 11, 100);
             s.Do(kNack, 1, 6, kNo, 20, 21);
             s.Read(1, 8, 3, 40, 41, 150);
             s.Drained(1, 9999, 4);
         }},
        {"a stale release gave back the later lease", Fault::kTwoHolders,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 6, 1, s.RolledBack(1, 30, 31), 2, 3, 5);
             s.Read(1, 7, 2, 10, 11, 100);
             s.Read(1, 8, 3, 40, 41, 150);
             s.Drained(1, 9999, 4);
         }},
        {"a flushed lease forgotten by a crash", Fault::kTwoHolders,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 500);
             s.Sent(2);
             s.Ack(2, 0, 20, 21);
             s.Crash(30, 40);
             s.Read(1, 8, 2, 50, 51, 600);
             s.Drained(1, 9999, 3);
         }},
        {"handed out after a heartbeat", Fault::kEarly,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 50);
             s.Do(kSetVt, 1, 7, kYes, 20, 21, 500).got_receipt = 7;
             s.Read(1, 8, 2, 100, 101, 600);
             s.Drained(1, 9999, 3);
         }},
        {"handed out before the nack's delay was over", Fault::kEarly,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 50);
             s.Do(kNack, 1, 7, kYes, 20, 21, 500);
             s.Read(1, 8, 2, 100, 101, 600);
             s.Drained(1, 9999, 3);
         }},
        {"the release of an earlier lease undid a later nack", Fault::kEarly,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, s.RolledBack(5, 15, 16), 10, 11, 50);
             s.Do(kNack, 1, 0, kYes, 20, 21, 500);
             s.Read(1, 8, 2, 100, 101, 600);
             s.Drained(1, 9999, 3);
         }},
        {"handed out before the send's delay was over", Fault::kEarly,
         [](Story& s) {
             s.Send(1, s.Auto(0, 1), 0, 1, 500);
             s.Read(1, 7, 1, 100, 101, 600);
             s.Drained(1, 9999, 2);
         }},
        {"a delay forgotten by a crash", Fault::kEarly,
         [](Story& s) {
             s.Send(1, s.Auto(0, 1), 0, 1, 500);
             s.Crash(20, 30);
             s.Read(1, 7, 1, 100, 101, 600);
             s.Drained(1, 9999, 2);
         }},
        {"handed out during an ack", Fault::kDeliveredWhileAcked,
         [](Story& s) {
             s.Sent(1);
             s.Do(kDelete, 1, 0, kYes, s.RolledBack(10, 50, 51), 12, 13);
             s.Read(1, 8, 1, 20, 21, 30);
             s.Drained(1, 9999, 2);
         }},
        {"handed out during a prepared ack, over a crash", Fault::kDeliveredWhileAcked,
         [](Story& s) {
             s.Sent(1);
             s.Do(kDelete, 1, 0, kYes, s.Prepared(10, 14, 15, Outcome::kRolledBack, 90, 91), 12, 13);
             s.Crash(20, 30);
             s.Read(1, 8, 1, 40, 41, 50);
             s.Drained(1, 9999, 2);
         }},
        {"handed out between an ack and its COMMIT", Fault::kDeliveredWhileAcked,
         [](Story& s) {
             s.Sent(1);
             s.Do(kArchive, 1, 0, kYes, s.Committed(10, 50, 51), 12, 13);
             s.Archived(1);
             s.Read(1, 8, 1, 20, 21, 30);
         }},
        {"two acks of one message", Fault::kAckedTwice,
         [](Story& s) {
             s.Sent(1);
             s.Do(kDelete, 1, 0, kYes, s.Committed(10, 50, 52), 12, 13);
             s.Do(kDelete, 1, 0, kYes, s.Committed(10, 50, 51), 12, 13);
         }},
        {"a heartbeat for a removed message", Fault::kActedOnGone,
         [](Story& s) {
             s.Sent(1);
             s.Ack(1, 0, 10, 11);
             s.Do(kSetVt, 1, 0, kYes, 20, 21);
         }},
        {"an old receipt accepted", Fault::kStaleAccepted,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 20);
             s.Read(1, 8, 2, 30, 31, 100);
             s.Ack(1, 7, 40, 41);
         }},
        {"leased again while it was acked", Fault::kStaleAccepted,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 20);
             s.Ack(1, 7, 30, 33);
             s.Read(1, 8, 2, 31, 32, 100);
         }},
        {"an old receipt accepted after a rollback and a crash", Fault::kStaleAccepted,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 20);
             s.Read(1, 8, 2, s.RolledBack(30, 35, 36), 30, 31, 100);
             s.Sent(2);
             s.Ack(2, 0, 40, 41);
             s.Crash(50, 60);
             s.Do(kNack, 1, 7, kYes, 70, 71);
             s.Drained(1, 9999, 3);
         }},
        {"a good receipt refused", Fault::kValidRefused,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 100);
             s.Do(kDelete, 1, 7, kNo, 20, 21);
             s.Drained(1, 9999, 2);
         }},
        {"a good receipt refused after a heartbeat", Fault::kValidRefused,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 50);
             s.Do(kSetVt, 1, 7, kYes, 20, 21, 500).got_receipt = 7;
             s.Do(kDelete, 1, 7, kNo, 100, 101);
             s.Drained(1, 9999, 2);
         }},
    };
}

std::vector<Case> Values() {
    return {
        {"a byte changed", Fault::kDamaged,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 100).intact = false;
             s.Ack(1, 7, 20, 21);
         }},
        {"a byte changed in the archive", Fault::kDamaged,
         [](Story& s) {
             s.Sent(1);
             s.Do(kArchive, 1, 0, kYes, 20, 21);
             s.Archived(1, false);
         }},
        {"another id than the send was told", Fault::kMixedUp,
         [](Story& s) {
             s.j.sends.push_back({Story::Uid(2), 1, s.Auto(0, 1), 0, Story::T(0), Story::T(1), 0});
             s.Drained(2);
             s.Ack(1, 0, 10, 11);
         }},
        {"one send, two messages", Fault::kDuplicated,
         [](Story& s) {
             s.Sent(1);
             s.Drained(1);
             Take twin = s.j.takes.back();
             twin.msg_id = 2;
             twin.receipt = 5;
             s.j.takes.push_back(twin);
             s.Ack(2, 5, 200'000, 200'001);
         }},
        {"an id given twice", Fault::kIdRepeated,
         [](Story& s) {
             s.Sent(1);
             s.Drained(1);
             s.j.sends.push_back({Story::Uid(2), 1, s.Auto(0, 1), 0, Story::T(0), Story::T(1), 0});
         }},
        {"an id given in an earlier round", Fault::kIdRepeated,
         [](Story& s) {
             s.history.ids[0] = {false, true};
             s.Sent(1);
             s.Drained(1);
         }},
        {"a receipt given twice", Fault::kReceiptRepeated,
         [](Story& s) {
             s.Sent(1);
             s.Sent(2);
             s.Read(1, 7, 1, 10, 11, 12);
             s.Read(2, 7, 1, 10, 11, 12);
             s.Drained(1, 9999, 2);
             s.Drained(2, 9999, 2);
         }},
        {"a receipt given in an earlier round", Fault::kReceiptRepeated,
         [](Story& s) {
             s.history.receipts = {3, 10'000};
             s.Sent(1);
             s.Drained(1);
         }},
        {"a receipt beyond 2^53", Fault::kReceiptRange,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, std::int64_t{1} << 53, 1, 10, 11, 100);
             s.Ack(1, 0, 20, 21);
         }},
        {"a heartbeat with a new receipt", Fault::kReceiptChanged,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 100);
             s.Do(kSetVt, 1, 7, kYes, 20, 21, 200).got_receipt = 8;
             s.Ack(1, 0, 30, 31);
         }},
        {"read_ct stood still", Fault::kReadCount,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 20);
             s.Drained(1, 9999, 1);
         }},
        {"read_ct undone by a rollback", Fault::kReadCount,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, s.RolledBack(9, 15, 16), 10, 11, 20);
             s.Drained(1, 9999, 1);
         }},
        {"read_ct ran ahead", Fault::kReadCountTooHigh,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 20);
             s.Drained(1, 9999, 3);
         }},
        {"a wrong vt", Fault::kWrongTimes,
         [](Story& s) {
             s.Sent(1);
             s.Read(1, 7, 1, 10, 11, 100).times_ok = false;
             s.Ack(1, 7, 20, 21);
         }},
        {"archived and not in the archive", Fault::kArchive,
         [](Story& s) {
             s.Sent(1);
             s.Do(kArchive, 1, 0, kYes, 10, 11);
         }},
        {"in the archive though rolled back", Fault::kArchive,
         [](Story& s) {
             s.Sent(1);
             s.Do(kArchive, 1, 0, kYes, s.RolledBack(9, 15, 16), 10, 11);
             s.Archived(1);
             s.Drained(1);
         }},
        {"twice in the archive", Fault::kArchive,
         [](Story& s) {
             s.Sent(1);
             s.Do(kArchive, 1, 0, kYes, 10, 11);
             s.Archived(1);
             s.Archived(1);
         }},
        {"half a transaction", Fault::kTorn,
         [](Story& s) {
             const TxId tx = s.Unknown(0, 20, 21);
             s.Sent(1);
             s.Do(kDelete, 1, 0, kYes, tx, 5, 6);
             s.Drained(1);
             s.Send(2, tx, 7, 8);
             s.Drained(2);
         }},
        {"half a batch, its answer lost", Fault::kTorn,
         [](Story& s) {
             const TxId tx = s.Unknown(0, 0, 5);
             s.j.sends.push_back({Story::Uid(1), 0, tx, 0, Story::T(0), Story::T(6), 0});
             s.j.sends.push_back({Story::Uid(2), 0, tx, 0, Story::T(0), Story::T(6), 0});
             s.Drained(1);
         }},
        {"a backend that died by itself", Fault::kConnection,
         [](Story& s) {
             s.Lost(0, 10);
             s.j.kills.clear();
         }},
        {"a backend that died by itself, its number in an old kill", Fault::kConnection,
         [](Story& s) {
             s.Lost(20, 30);
             s.j.conns.back().opened = Story::T(15);
             s.j.kills.back().req = Story::T(5);
         }},
        {"an internal error", Fault::kTrouble, [](Story& s) { s.j.troubles.emplace_back("XX000"); }},
    };
}

}  // namespace

std::vector<Case> FaultyCases() {
    std::vector<Case> all = LossesAndGhosts();
    for (Case& one : Exclusion()) all.push_back(std::move(one));
    for (Case& one : Values()) all.push_back(std::move(one));
    return all;
}

}  // namespace torture
