// Creating, dropping and changing queues. The tables are made through SQL, as the extension's owner, since nobody else
// may create anything in the schema `queue`; they then belong to the role that called.
#pragma once

#include "pgqueue/queue/queue.hpp"

namespace pgqueue::queue {

struct QueueSettings {
    double vt;
    double delay;
    bool unlogged;
};

// True: made, or an existing table of that name taken over. False: it exists with the same settings; with others it is
// an error (duplicate_table). Needs CREATE on the database, or, to take a table over, to own it.
bool Create(const char* name, const QueueSettings& settings);
// Changes settings; nothing stays as it was. The caller owns the queue.
bool Alter(const char* name, std::optional<double> vt, std::optional<double> delay);
// False: no such queue. The caller owns it.
bool Drop(const char* name);
// Deletes all messages; returns how many. Needs DELETE.
int64 Purge(const char* name);
// True if this changed it. The caller owns the queue.
bool SetPaused(const char* name, bool paused);

enum class Grant { kGrant, kRevoke };
// privilege: send, consume or monitor.
void GrantOrRevoke(Grant what, const char* name, const char* role, const char* privilege);

}  // namespace pgqueue::queue
