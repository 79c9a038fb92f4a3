// Order within groups, and that a group is out in one place only.
//
// - A read by groups of a fifo queue hands out a message only when all earlier ones of its group have gone (removed,
//   and the removal committed), or comes with them in its answer, behind them. Earlier is what a sender can know: sent
//   by the same transaction before, or the send had returned before the later one was asked for, and was committed
//   before that or before the read was asked for.
//   In a queue with a last attempt an earlier one that was never handed out again may have been a dead letter by then.
// - While a lease of a message certainly excludes others from that message, no read by groups hands out another one of
//   the group. Heartbeats prolong that time; the commit of the message's removal ends it, and so does PREPARE
//   TRANSACTION of it: from then on only later ones wait.
#pragma once

#include "journal.hpp"

#include <vector>

namespace torture {

struct Context;

// A message of a group, as MessageCheck saw it.
struct GroupMember {
    struct Lease {
        const Take* take;
        Nanos start, end;  // certainly in force
    };
    const Send* send;
    Nanos there_until;  // it certainly hadn't gone before
    std::vector<const Take*> takes;
    std::vector<Lease> leases;
};

void CheckGroups(Context& context);

}  // namespace torture
