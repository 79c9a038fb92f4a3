// How many messages a queue holds, in a time that doesn't grow with it.
#pragma once

#include "pgqueue/queue/queue.hpp"

namespace pgqueue::queue {

struct Figures {
    // By the newest committed state, and the own transaction's; not by a snapshot.
    double ready = 0;      // due
    double in_flight = 0;  // leased, or read before and put off
    double delayed = 0;    // never read, and not due yet
    bool exact = true;     // every page that may hold a message was looked at
    double margin = 0;     // two standard errors of the worst of the three; 0 where the sample's pages are alike
    // Of the rows that were looked at. The ages' pages are looked for.
    TimestampTz oldest = DT_NOEND;       // enqueued_at; DT_NOEND: no messages
    TimestampTz newest = DT_NOBEGIN;     // the same; DT_NOBEGIN
    TimestampTz ready_since = DT_NOEND;  // the least vt of those that are ready; DT_NOEND: none is
    int32 most_attempts = 0;             // the highest read_ct
    double table_pages = 0;
    double live_pages = 0;               // with a message, about
    ItemPointerData not_a_message = {};  // a row that isn't one, if its offset is valid

    double Waiting() const { return ready + in_flight + delayed; }
};

// Looks at no more than a few hundred pages, with a share lock each: all that may hold a message if they are few, else
// a sample, evenly spread, with those at both ends.
Figures Estimate(const OpenedQueue& opened);

}  // namespace pgqueue::queue
