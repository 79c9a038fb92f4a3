#include "pgqueue/queue/table_writer.hpp"

#include "pgqueue/pg/compat.hpp"
#include "pgqueue/queue/row.hpp"

namespace pgqueue::queue {
namespace {

constexpr int kChunk = 1000;  // rows per heap_multi_insert

}  // namespace

TableWriter::TableWriter(Relation rel, Oid primary_key, bool plain) : rel_(rel) {
    if (plain) {
        primary_key_ = index_open(primary_key, RowExclusiveLock);
        index_info_ = BuildIndexInfo(primary_key_);
        return;
    }
    estate_ = CreateExecutorState();
    result_ = makeNode(ResultRelInfo);
    InitResultRelInfo(result_, rel, 0, nullptr, 0);
    ExecOpenIndices(result_, false);
    slot_ = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsHeapTuple);
}

TableWriter::~TableWriter() {
    if (primary_key_ != nullptr) index_close(primary_key_, NoLock);
    if (estate_ == nullptr) return;
    ExecCloseIndices(result_);
    ExecDropSingleTupleTableSlot(slot_);
    FreeExecutorState(estate_);
}

void TableWriter::CheckConstraints(HeapTuple tuple) {
    ExecStoreHeapTuple(tuple, slot_, false);
    slot_->tts_tableOid = RelationGetRelid(rel_);
    if (RelationGetDescr(rel_)->constr != nullptr) ExecConstraints(result_, slot_, estate_);
}

void TableWriter::InsertIndexes(HeapTuple tuple) {
    if (primary_key_ != nullptr) {
        Datum value = Int64GetDatum(HeadOf(tuple->t_data)->msg_id);
        bool null = false;
        index_insert(primary_key_, &value, &null, &tuple->t_self, rel_, UNIQUE_CHECK_YES, false, index_info_);
        return;
    }
    ExecStoreHeapTuple(tuple, slot_, false);
    slot_->tts_tid = tuple->t_self;
    if (result_->ri_NumIndices > 0) list_free(compat::InsertIndexTuples(result_, slot_, estate_));
    ResetPerTupleExprContext(estate_);
}

void TableWriter::Insert(HeapTuple tuple, int options) {
    if (slot_ != nullptr) CheckConstraints(tuple);
    heap_insert(rel_, tuple, GetCurrentCommandId(true), options, nullptr);
    InsertIndexes(tuple);
}

void TableWriter::InsertMany(HeapTuple* tuples, int count, int options) {
    const CommandId command = GetCurrentCommandId(true);
    const int width = std::min(count, kChunk);
    auto** slots = static_cast<TupleTableSlot**>(palloc(width * sizeof(TupleTableSlot*)));
    for (int i = 0; i < width; i++) slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(rel_), &TTSOpsHeapTuple);
    for (int done = 0; done < count; done += width) {
        const int n = std::min(width, count - done);
        for (int i = 0; i < n; i++) {
            if (slot_ != nullptr) CheckConstraints(tuples[done + i]);
            ExecStoreHeapTuple(tuples[done + i], slots[i], false);
        }
        heap_multi_insert(rel_, slots, n, command, options, nullptr);
        for (int i = 0; i < n; i++) {
            tuples[done + i]->t_self = slots[i]->tts_tid;
            InsertIndexes(tuples[done + i]);
        }
        CHECK_FOR_INTERRUPTS();
    }
    for (int i = 0; i < width; i++) ExecDropSingleTupleTableSlot(slots[i]);
    pfree(slots);
}

}  // namespace pgqueue::queue
