// Journals of sends with deduplication keys: with a fault in each, and right ones.
#include "story.hpp"

namespace torture {

std::vector<Case> DedupCases() {
    return {
        {"three sends with a key, one message",
         {},
         [](Story& s) {
             s.SendKey(1, 1, 1, s.Auto(0, 1), 0, 1);
             s.SendKey(1, 2, 1, s.Auto(2, 3), 2, 3);
             s.Drained(1);
             s.SendKey(1, 3, 1, s.Auto(4, 5), 4, 5);
         }},
        {"the second one's message is stored, since the first was rolled back",
         {},
         [](Story& s) {
             s.SendKey(1, 1, 1, s.RolledBack(0, 5, 6), 0, 1);
             s.SendKey(1, 2, 2, s.Auto(2, 7), 2, 7);
             s.Drained(2);
         }},
        {"a rolled-back send was told of a message that is there",
         {},
         [](Story& s) {
             s.SendKey(1, 1, 1, s.Auto(0, 1), 0, 1);
             s.SendKey(1, 2, 1, s.RolledBack(2, 4, 5), 2, 3);
             s.Do(ActKind::kSqlDelete, 1, 0, Answer::kYes, 10, 11);
         }},
        {"twice in one transaction",
         {},
         [](Story& s) {
             const TxId tx = s.Committed(0, 10, 11);
             s.SendKey(1, 1, 1, tx, 1, 2);
             s.SendKey(1, 2, 1, s.Savepoint(tx, Outcome::kRolledBack, 3, 5, 6), 4, 5);
             s.SendKey(1, 3, 1, tx, 7, 8);
             s.Do(ActKind::kSqlDelete, 1, 0, Answer::kYes, 20, 21);
         }},
        {"the answer of a second send was lost",
         {},
         [](Story& s) {
             s.SendKey(1, 1, 1, s.Auto(0, 1), 0, 1);
             s.SendKey(1, 2, 0, s.Unknown(2, 2, 5), 2, 5);
             s.Drained(1);
         }},
        {"the answer of the first send was lost",
         {},
         [](Story& s) {
             s.SendKey(1, 2, 0, s.Unknown(2, 2, 5), 2, 5);
             s.SendKey(1, 3, 1, s.Auto(6, 7), 6, 7);
             s.Drained(1);
             s.j.takes.back().uid = Story::Uid(2);
         }},
        {"its window is over",
         {},
         [](Story& s) {
             s.SendKey(1, 1, 1, s.Auto(0, 1), 0, 1);
             s.Drained(1);
             s.SendKey(1, 2, 2, s.Auto(310'000, 310'001), 310'000, 310'001);
             s.Read(2, 5, 1, 400'000, 400'001, 410'000);
             s.Ack(2, 5, 400'002, 400'003);
         }},
        {"the id of a rolled-back send comes again after a crash",
         {},
         [](Story& s) {
             s.SendKey(1, 1, 1, s.RolledBack(0, 5, 6), 0, 1);
             s.Crash(10, 20);
             s.SendKey(1, 2, 1, s.Auto(30, 31), 30, 31);
             s.Do(ActKind::kSqlDelete, 1, 0, Answer::kYes, 40, 41);
         }},
        {"two messages for a key", Fault::kKeyDoubled,
         [](Story& s) {
             s.SendKey(1, 1, 1, s.Auto(0, 1), 0, 1);
             s.SendKey(1, 2, 2, s.Auto(2, 3), 2, 3);
             s.Drained(1);
             s.Drained(2);
         }},
        {"two at one time", Fault::kKeyDoubled,
         [](Story& s) {
             s.SendKey(1, 1, 1, s.Committed(0, 10, 12), 1, 3);
             s.SendKey(1, 2, 2, s.Committed(0, 11, 13), 2, 4);
             s.Drained(1);
             s.Drained(2);
         }},
        {"a second message, whose send's answer was lost", Fault::kKeyDoubled,
         [](Story& s) {
             s.SendKey(1, 1, 1, s.Auto(0, 1), 0, 1);
             s.SendKey(1, 2, 0, s.Unknown(2, 2, 5), 2, 5);
             s.Drained(1);
             s.Drained(2);
         }},
        {"a second message after the first was acked", Fault::kKeyDoubled,
         [](Story& s) {
             s.SendKey(1, 1, 1, s.Auto(0, 1), 0, 1);
             s.Ack(1, 0, 2, 3);
             s.SendKey(1, 2, 2, s.Auto(4, 5), 4, 5);
             s.Drained(2);
         }},
        {"swallowed by a send that was rolled back", Fault::kKeySwallowed,
         [](Story& s) {
             s.SendKey(1, 1, 1, s.RolledBack(0, 5, 6), 0, 1);
             s.SendKey(1, 2, 1, s.Auto(2, 7), 2, 7);
         }},
        {"swallowed by a savepoint that was rolled back", Fault::kKeySwallowed,
         [](Story& s) {
             const TxId tx = s.Committed(0, 10, 11);
             s.SendKey(1, 1, 1, s.Savepoint(tx, Outcome::kRolledBack, 1, 5, 6), 2, 3);
             s.SendKey(1, 2, 1, tx, 7, 8);
         }},
        {"swallowed, and nobody knows by whom", Fault::kLost, [](Story& s) { s.SendKey(1, 2, 1, s.Auto(2, 7), 2, 7); }},
        {"the message of a second send that was told of the first", Fault::kDuplicated,
         [](Story& s) {
             s.SendKey(1, 1, 1, s.Auto(0, 1), 0, 1);
             s.SendKey(1, 2, 1, s.Auto(2, 3), 2, 3);
             s.Drained(1);
             s.Drained(2);
         }},
    };
}

}  // namespace torture
