// Row triggers, ENABLE ALWAYS, on a queue's tables: plain SQL beside the engine.
//
// on_insert  BEFORE INSERT: refuses it, but for COPY, restores and logical replication.
// on_update  BEFORE UPDATE: the row is locked by now, so no lease can come in between any more; but the new row was
// computed
//            from what the statement's snapshot read, before the lock. Whatever a lease has changed since is put back
//            into it.
// on_change  AFTER INSERT OR UPDATE OR DELETE: tells the page map at commit where the new row lies, and the groups that
//            an old one doesn't hold them any more.
#include "pgqueue/page/transaction.hpp"
#include "pgqueue/pg/function.hpp"
#include "pgqueue/pg/triggers.hpp"
#include "pgqueue/queue/expire.hpp"
#include "pgqueue/queue/grouping.hpp"

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

// A row with a ttl came by COPY or replication: its queue is one of those to be looked through for expired messages.
void NoteExpiring(Relation segment) {
    static Oid known = InvalidOid;
    if (RelationGetRelid(segment) == known) return;
    char name[NAMEDATALEN];
    uint32 number = 0;
    if (!ParseSegmentName(RelationGetRelationName(segment), name, &number)) return;
    if (!QueueExists(name)) return;  // a restore: the settings come later
    MarkExpiring(name);
    known = RelationGetRelid(segment);
}

// The table's map, with room for the page; nothing: the table isn't a queue's.
std::optional<page::SegmentRef> MapFor(Relation segment, BlockNumber block, page::MapKind kind) {
    for (;;) {
        const auto map = MapOfTable(segment, kind);
        if (!map || block < map->pages) return map;
        page::Widen(*map, segment);
        CHECK_FOR_INTERRUPTS();
    }
}

// The row is gone, or in the group `now`: it holds that of before no longer.
void DropOldHold(Relation segment, HeapTuple old, page::GroupHash now) {
    bool elsewhere = false;  // such a row can be mended or deleted
    const page::GroupHash group = GroupOrNone(segment, old, &elsewhere);
    if (group == 0 || group == now) return;
    const auto map = MapOfTable(segment);
    if (!map) return;
    page::ReserveDrops(1);
    page::DropHoldOnCommit(*map, ItemPointerGetBlockNumber(&old->t_self), group, HoldKeyOf(HeadOf(old->t_data)));
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
    const page::SegmentRef map = MapOfTable(data->tg_relation).value_or(page::SegmentRef{});
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
        return TRIGGER_FIRED_AFTER(event) &&
               (TRIGGER_FIRED_BY_INSERT(event) || TRIGGER_FIRED_BY_UPDATE(event) || TRIGGER_FIRED_BY_DELETE(event));
    });
    const bool deleted = TRIGGER_FIRED_BY_DELETE(data->tg_event);
    HeapTuple row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
    if (RecoveryInProgress() || !ItemPointerIsValid(&row->t_self)) return PointerGetDatum(nullptr);
    const page::GroupHash group = deleted ? 0 : GroupOf(data->tg_relation, row);
    if (!TRIGGER_FIRED_BY_INSERT(data->tg_event)) DropOldHold(data->tg_relation, data->tg_trigtuple, group);
    if (deleted) return PointerGetDatum(nullptr);
    const RowHead* head = HeadOf(row->t_data);
    const BlockNumber block = ItemPointerGetBlockNumber(&row->t_self);
    const auto map = MapFor(data->tg_relation, block, page::MapKind::kDeliverable);
    if (!map) return PointerGetDatum(nullptr);
    page::ReserveTouches(2);
    page::MakeRoom(*map, page::BandFor(*map, head->priority), block);
    const bool grouped = group != 0;
    page::TouchOnCommit(*map, head->priority, block, grouped ? page::kUnknown : page::BoundOf(head->vt), grouped);
    const TimestampTz expires_at = ExpiryOf(row, RelationGetDescr(data->tg_relation));
    if (!TIMESTAMP_IS_NOEND(expires_at)) {
        NoteExpiring(data->tg_relation);
        TouchExpiry(*MapFor(data->tg_relation, block, page::MapKind::kExpiry), block, expires_at);
    }
    return PointerGetDatum(nullptr);
}
