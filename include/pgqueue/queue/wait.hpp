// Waiting for a message without polling.
#pragma once

#include "pgqueue/queue/queue.hpp"

namespace pgqueue::queue {

// A place on the queue's list of sleepers, for one wait with a deadline. Use: construct, then in a loop look for a
// message and, if there is none, Sleep. The list is entered before the look, so a commit after the look wakes us.
//
// Of all sleepers one keeps the timer for the next instant at which a lease or a delay ends; the others sleep until
// somebody wakes them, at most kLongestSleep.
class Waiter {
public:
    // seconds: from now. choosy: it may pass by what it is woken for (a filter). Such sleepers are all woken at every
    // commit, beside one of the others, and don't return at once for what is due and not for them.
    Waiter(double seconds, bool choosy);
    ~Waiter();
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;

    // Enters the list for this map, before the look.
    void Enter(const page::SegmentRef& map);
    // Sleeps until there may be something, the deadline has come or a signal arrived. False: the deadline has passed.
    // No lock on the segment is held. Raises FATAL if the client has gone meanwhile: the next message is for somebody
    // who is there.
    // `paused`: only a resume can change anything. `by_latch`: whatever sets the process' latch ends the sleep too.
    bool Sleep(bool paused, bool by_latch = false);
    // Leaves the list. One other sleeper is woken: we may have kept the timer, or left messages that it can have.
    void Leave();

private:
    TimestampTz deadline_;
    bool choosy_;
    page::SegmentRef map_;
    bool entered_ = false;
    int64 paused_sleep_;  // how long the next sleep on a paused queue may last
};

}  // namespace pgqueue::queue
