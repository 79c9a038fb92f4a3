// Handlers and their processes in shared memory: an entry for each queue that has a handler, with what is to be seen
// in queue.handlers, and a slot for each process.
//
// The database's worker gives entries and slots; a process claims its slot, and frees it when it goes, whatever ends
// it. Processes belong to the worker: when it goes they are told to go as well.
#pragma once

#include "pgqueue/queue/queue.hpp"

namespace pgqueue::queue {

inline constexpr int kHandlerErrorBytes = 512;

enum class HandlerState : int { kReady, kBroken, kNoProcess };

Size HandlersShmemSize();
void HandlersShmemInit();

// For the worker, each about entries of this database.

// The queue's entry, made if there is none; -1: none is left.
int GiveEntry(const char* queue, Oid role);
// Frees what no name in `kept` stands for. Its processes are told to go after their message.
void KeepEntries(const pg::TopVector<int>& kept);
// Frees the entries of a database that is gone. From any process.
void DisownHandlers(Oid database);
int Entries();
Oid DatabaseOf(int entry);  // InvalidOid: free

struct HandlerCounts {
    int processes;    // all of them
    int idle;         // coming up or waiting for a message
    uint32 failures;  // in a row, that ended processes
};
HandlerCounts CountProcesses(int entry);
void SetState(int entry, HandlerState state);
void NoteError(int entry, const char* text);
// Takes a slot and starts a process. False: no slot, or no background worker, is free now.
bool StartProcess(int entry, Oid role);
// Frees the slots of processes that never came up.
void CollectLost();
// After the message that they have in hand; entry -1: all of this database.
void StopProcesses(int entry);
// At once.
void TerminateProcesses();

// For a process.

struct HandlerOrder {
    Oid database;
    Oid role;
    char queue[NAMEDATALEN];
};
bool ClaimProcess(int slot, uint32 generation, HandlerOrder* order);
bool MustStop(int slot);
void SetBusy(int slot, bool busy);
// `error`: why it could not go on; empty: nobody knows; null: nothing was wrong. `terminated`: by a signal, which is
// all right if it had to stop.
void LeaveProcess(int slot, const char* error, bool terminated);
struct MessageCounts {
    int64 processed = 0;
    int64 failed = 0;
    int64 lost = 0;  // the lease had run out before their turn came
};
// `error`: of the last that failed, or null.
void CountMessages(int slot, const MessageCounts& counts, const char* error);

// For the view.
struct HandlerReport {
    char queue[NAMEDATALEN];
    Oid role;
    HandlerState state;
    uint32 failures;
    int processes;
    int busy;
    int64 processed;
    int64 failed;
    int64 lost;
    TimestampTz last_error_at;  // 0: never
    char last_error[kHandlerErrorBytes];
};
// False: not one of this database.
bool ReadEntry(int entry, HandlerReport* report);

}  // namespace pgqueue::queue
