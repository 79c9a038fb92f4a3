// Creating, dropping and changing queues. The tables are made through SQL, as the extension's owner, since nobody else
// may create anything in the schema `queue`; they then belong to the role that called.
#pragma once

#include "pgqueue/pg/execute.hpp"
#include "pgqueue/queue/queue_settings.hpp"

namespace pgqueue::queue {

// True: made, or an existing table of that name taken over. False: it exists with the same settings; with others it is
// an error (duplicate_table). Needs CREATE on the database, or, to take a table over, to own it.
bool Create(const char* name, const QueueSettings& settings, bool unlogged);
// True if this changed anything. The caller owns the queue.
bool Alter(const char* name, const SettingsChange& change);
// False: no such queue. The caller owns it.
bool Drop(const char* name);
// A further segment, made as one that is there. As the extension's owner; the queue is locked against DROP.
void MakeSegment(pg::Spi* spi, const char* queue, uint32 number, Oid like, Oid owner);
// A part of the archive, made as that is. As the extension's owner; the archive is locked against DROP.
void MakeArchivePart(pg::Spi* spi, const char* queue, int number, Oid archive, Oid owner);
// Deletes all messages; returns how many. Needs DELETE.
int64 Purge(const char* name);
// True if this changed it. The caller owns the queue.
bool SetPaused(const char* name, bool paused);
// Notifications: at most one in `throttle` seconds (below 0: none), on that channel (null: the queue's own). The caller
// owns the queue.
void SetNotify(const char* name, double throttle, const char* channel);

enum class Grant { kGrant, kRevoke };
// privilege: send, consume or monitor.
void GrantOrRevoke(Grant what, const char* name, const char* role, const char* privilege);

}  // namespace pgqueue::queue
