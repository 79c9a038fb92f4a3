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
    // seconds: from now.
    explicit Waiter(double seconds);
    ~Waiter();
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;

    // Enters the list for this map, before the look.
    void Enter(const page::SegmentRef& map);
    // Sleeps until there may be something, the deadline has come or a signal arrived. False: the deadline has passed.
    // `polite`: what is due now is not for us (a filter), so don't return at once for it. No lock on the segment is
    // held.
    bool Sleep(bool polite);
    // Leaves the list. One other sleeper is woken: we may have kept the timer, or left messages that it can have.
    void Leave();

private:
    TimestampTz deadline_;
    page::SegmentRef map_;
    bool entered_ = false;
};

}  // namespace pgqueue::queue
