// Inserts rows into a queue's segment or archive without the executor's plan, but with what it would do for the table:
// TOAST, the primary key, and where there are more indexes or CHECK constraints, those too.
#pragma once

#include "pgqueue/pg/memory.hpp"

namespace pgqueue::queue {

class TableWriter {
public:
    // `rel` is locked for writing. `primary_key` names its only index where `plain` (no other index, no CHECK); else
    // anything goes and the executor's routines do the work.
    TableWriter(Relation rel, Oid primary_key, bool plain);
    // Releases what the success path must; an error leaves that to the transaction's abort.
    ~TableWriter();
    TableWriter(const TableWriter&) = delete;
    TableWriter& operator=(const TableWriter&) = delete;

    // Stores rows, in order; their places are in t_self afterwards. Options: HEAP_INSERT_*.
    void Insert(HeapTuple* tuples, int count, int options);

private:
    void CheckConstraints(HeapTuple tuple);
    void InsertKeys(const HeapTuple* tuples, int count);
    void InsertIndexes(HeapTuple tuple);

    Relation rel_;
    Relation primary_key_ = nullptr;
    EState* estate_ = nullptr;  // the long way only
    ResultRelInfo* result_ = nullptr;
    TupleTableSlot* slot_ = nullptr;
    pg::Vector<TupleTableSlot*> slots_;  // for heap_multi_insert
};

}  // namespace pgqueue::queue
