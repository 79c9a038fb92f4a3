// Row triggers, ENABLE ALWAYS, on a queue's tables: plain SQL beside the engine.
//
// on_insert  BEFORE INSERT: refuses it, but for COPY, restores and logical replication.
// on_update  BEFORE UPDATE: the row is locked by now, so no lease can come in between any more; but the new row was
// computed
//            from what the statement's snapshot read, before the lock. Whatever a lease has changed since is put back
//            into it.
// on_change  AFTER INSERT OR UPDATE: tells the page map at commit where the new row lies.
#include "pgqueue/page/transaction.hpp"
#include "pgqueue/pg/function.hpp"
#include "pgqueue/pg/triggers.hpp"
#include "pgqueue/queue/row_state.hpp"

namespace pgqueue::queue {
namespace {

// Checks what the three rely on, since anybody may attach them anywhere. `fired`: the event is the one meant.
TriggerData* Called(FunctionCallInfo fcinfo, bool (*fired)(TriggerEvent)) {
    TriggerData* data = pg::RowTrigger(fcinfo, kSchema, fired);
    const TupleDesc desc = data != nullptr ? RelationGetDescr(data->tg_relation) : nullptr;
    constexpr std::array<Oid, kPriority> kHead = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
                                                  INT8OID, INT4OID,        INT4OID};
    bool good = desc != nullptr && desc->natts >= kQueueColumns;
    for (int i = 0; good && i < kPriority; i++)
        good = TupleDescAttr(desc, i)->atttypid == kHead[i] && TupleDescAttr(desc, i)->attnotnull &&
               !TupleDescAttr(desc, i)->attisdropped;
    if (!good)
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("this trigger is only for the tables of queues, as queue.create makes it")));
    return data;
}

}  // namespace
}  // namespace pgqueue::queue

using namespace pgqueue;
using namespace pgqueue::queue;

PGQUEUE_FUNCTION(pgqueue_on_insert) {
    TriggerData* data = Called(
        fcinfo, [](TriggerEvent event) { return TRIGGER_FIRED_BEFORE(event) && TRIGGER_FIRED_BY_INSERT(event); });
    const bool parent = data->tg_relation->rd_rel->relhassubclass;
    if (!parent && pg::ArrivesInBulk()) return PointerGetDatum(data->tg_trigtuple);
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("rows can't be inserted into the table \"%s\" of a queue",
                           RelationGetRelationName(data->tg_relation)),
                    errhint("Use queue.send or queue.send_batch.")));
    return PointerGetDatum(nullptr);
}

PGQUEUE_FUNCTION(pgqueue_on_update) {
    TriggerData* data = Called(
        fcinfo, [](TriggerEvent event) { return TRIGGER_FIRED_BEFORE(event) && TRIGGER_FIRED_BY_UPDATE(event); });
    const TupleDesc desc = RelationGetDescr(data->tg_relation);
    HeapTuple now = data->tg_trigtuple;  // as locked
    HeapTuple wanted = data->tg_newtuple;
    const auto set_by_user = [&](int attribute) {
        return bms_is_member(attribute - FirstLowInvalidHeapAttributeNumber, data->tg_updatedcols);
    };
    int columns[kPriority + 1];
    Datum values[kPriority + 1];
    bool nulls[kPriority + 1] = {};
    int count = 0;
    for (int attribute = kMsgId; attribute <= kPriority; attribute++) {
        bool null = false;
        const Datum old_value = heap_getattr(now, attribute, desc, &null);
        const Datum new_value = heap_getattr(wanted, attribute, desc, &null);
        if (old_value == new_value) continue;
        if (set_by_user(attribute)) {
            if (attribute == kVt || SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA) continue;
            ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                            errmsg("column \"%s\" of a queue can't be updated",
                                   NameStr(TupleDescAttr(desc, attribute - 1)->attname)),
                            errhint("Only \"vt\", \"message\", \"headers\" and columns of your own can.")));
        }
        columns[count] = attribute;
        values[count] = old_value;
        count++;
    }
    // A note about a lease that was given back names the row's old place.
    const page::SegmentRef map = page::Attach(data->tg_relation, true, 0);
    bool null = false;
    RowHead head{};
    head.vt = DatumGetTimestampTz(heap_getattr(now, kVt, desc, &null));
    head.receipt = DatumGetInt64(heap_getattr(now, kReceipt, desc, &null));
    const TimestampTz vt = EffectiveVt(map, &head, now->t_self, GetCurrentTimestamp());
    if (vt != head.vt && !set_by_user(kVt)) {
        columns[count] = kVt;
        values[count] = TimestampTzGetDatum(vt);
        count++;
    }
    if (count == 0) return PointerGetDatum(wanted);
    return PointerGetDatum(heap_modify_tuple_by_cols(wanted, desc, count, columns, values, nulls));
}

PGQUEUE_FUNCTION(pgqueue_on_change) {
    TriggerData* data = Called(fcinfo, [](TriggerEvent event) {
        return TRIGGER_FIRED_AFTER(event) && (TRIGGER_FIRED_BY_INSERT(event) || TRIGGER_FIRED_BY_UPDATE(event));
    });
    HeapTuple row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
    if (RecoveryInProgress() || !ItemPointerIsValid(&row->t_self)) return PointerGetDatum(nullptr);
    const RowHead* head = HeadOf(row->t_data);
    const page::SegmentRef map = page::Attach(data->tg_relation, true, 0);
    const BlockNumber block = ItemPointerGetBlockNumber(&row->t_self);
    page::ReserveTouches(1);
    page::MakeRoom(map, page::BandFor(map, head->priority), block);
    page::TouchOnCommit(map, head->priority, block, page::BoundOf(head->vt));
    return PointerGetDatum(nullptr);
}
