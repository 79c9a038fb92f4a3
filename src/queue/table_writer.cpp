#include "pgqueue/queue/table_writer.hpp"

#include "pgqueue/page/index_append.hpp"
#include "pgqueue/pg/compat.hpp"
#include "pgqueue/queue/row.hpp"

namespace pgqueue::queue {
TableWriter::TableWriter(Relation rel, Oid primary_key, bool plain) : rel_(rel) {
    if (plain) {
        primary_key_ = index_open(primary_key, RowExclusiveLock);
        return;
    }
    estate_ = CreateExecutorState();
    result_ = makeNode(ResultRelInfo);
    InitResultRelInfo(result_, rel, 0, nullptr, 0);
    ExecOpenIndices(result_, false);
    slot_ = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsHeapTuple);
}

TableWriter::~TableWriter() {
    for (TupleTableSlot* slot : slots_) ExecDropSingleTupleTableSlot(slot);
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

void TableWriter::InsertKeys(const HeapTuple* tuples, int count) {
    const auto key = [&](int i) { return HeadOf(tuples[i]->t_data)->msg_id; };
    for (int done = 0; done < count;) {
        int run = 1;
        while (done + run < count && key(done + run) == key(done) + run) run++;
        const int appended = page::AppendToIndex(primary_key_, key(done), &tuples[done], run);
        done += appended;
        if (appended > 0) continue;
        Datum value = Int64GetDatum(key(done));
        page::InsertIntoIndex(primary_key_, &value, tuples[done]->t_self, rel_, UNIQUE_CHECK_YES);
        done++;
    }
}

void TableWriter::InsertIndexes(HeapTuple tuple) {
    ExecStoreHeapTuple(tuple, slot_, false);
    slot_->tts_tid = tuple->t_self;
    slot_->tts_tableOid = RelationGetRelid(rel_);
    if (result_->ri_NumIndices > 0) list_free(compat::InsertIndexTuples(result_, slot_, estate_));
    ResetPerTupleExprContext(estate_);
}

void TableWriter::Insert(HeapTuple* tuples, int count, int options) {
    if (slot_ != nullptr)
        for (int i = 0; i < count; i++) CheckConstraints(tuples[i]);
    const CommandId command = GetCurrentCommandId(true);
    if (count == 1) {
        heap_insert(rel_, tuples[0], command, options, nullptr);
    } else {
        while (static_cast<int>(slots_.size()) < count)
            slots_.push_back(MakeSingleTupleTableSlot(RelationGetDescr(rel_), &TTSOpsHeapTuple));
        for (int i = 0; i < count; i++) ExecStoreHeapTuple(tuples[i], slots_[i], false);
        heap_multi_insert(rel_, slots_.data(), count, command, options, nullptr);
        for (int i = 0; i < count; i++) tuples[i]->t_self = slots_[i]->tts_tid;
    }
    if (primary_key_ != nullptr)
        InsertKeys(tuples, count);
    else
        for (int i = 0; i < count; i++) InsertIndexes(tuples[i]);
}

}  // namespace pgqueue::queue
