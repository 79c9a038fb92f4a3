// Row triggers, ENABLE ALWAYS, on a store's tables: plain SQL beside the engine.
//
// on_write   BEFORE INSERT OR UPDATE: refuses both, but for COPY, restores and logical replication. A statement would
//            know nothing of versions, of the expiry's bound, or of what changed in place since its snapshot.
// on_change  AFTER INSERT OR UPDATE: tells the page map at commit where the new row lies, and keeps one of a value and
// a
//            counter that have the same name.
//
// on_settings  on kv.settings, AFTER any change: lets all sessions look at the store's settings anew.
#include "pgqueue/kv/cells.hpp"
#include "pgqueue/page/transaction.hpp"
#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/function.hpp"
#include "pgqueue/pg/triggers.hpp"

namespace pgqueue::kv {
namespace {

// Checks what both rely on, since anybody may attach them anywhere.
TriggerData* Called(FunctionCallInfo fcinfo, bool (*fired)(TriggerEvent)) {
    TriggerData* data = pg::RowTrigger(fcinfo, kSchema, fired);
    const TupleDesc desc = data != nullptr ? RelationGetDescr(data->tg_relation) : nullptr;
    const bool good = desc != nullptr && desc->natts >= kKey && TupleDescAttr(desc, 0)->atttypid == INT8OID &&
                      TupleDescAttr(desc, 1)->atttypid == TIMESTAMPTZOID &&
                      TupleDescAttr(desc, 2)->atttypid == CHAROID && TupleDescAttr(desc, 0)->attnotnull &&
                      TupleDescAttr(desc, 1)->attnotnull && TupleDescAttr(desc, 2)->attnotnull;
    if (!good)
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("this trigger is only for the tables of stores, as kv.create_store makes it")));
    return data;
}

// Of a value and a counter of one name the value stays, whichever comes first: it is what a reader sees of the two.
void KeepOne(Relation rel, HeapTuple row) {
    const char* name = RelationGetRelationName(rel);
    const bool is_value = strncmp(name, "s_", 2) == 0;
    const bool is_counter = strncmp(name, "c_", 2) == 0 && CellHeadOf(row->t_data)->kind == kCounter;
    const auto bytes = KeyOf(row);
    if (!(is_value || is_counter) || !bytes || ValueHeadOf(row->t_data)->expires_at <= GetCurrentTimestamp()) return;
    const Datum text = PointerGetDatum(cstring_to_text_with_len(bytes->data(), static_cast<int>(bytes->size())));
    const Key key{text, *bytes};
    const Table cells = OpenUnsettled(name + 2, Part::kCells, RowExclusiveLock);
    if (is_counter)
        YieldToValue(cells, key, row->t_self);
    else
        ReplaceCounter(cells, key);
    Close(cells);
    pfree(DatumGetPointer(text));
}

void InvalidateStoreOf(Relation settings, HeapTuple row) {
    if (row == nullptr) return;
    bool null = false;
    const Datum store = heap_getattr(row, kSettingsName, RelationGetDescr(settings), &null);
    char table[NAMEDATALEN];
    ValuesName(TextDatumGetCString(store), table);
    const Oid oid = pg::RelationIn(kSchema, table);
    if (OidIsValid(oid)) CacheInvalidateRelcacheByRelid(oid);
}

bool IsWrite(TriggerEvent event) { return TRIGGER_FIRED_BY_INSERT(event) || TRIGGER_FIRED_BY_UPDATE(event); }

}  // namespace
}  // namespace pgqueue::kv

using namespace pgqueue;
using namespace pgqueue::kv;

PGQUEUE_FUNCTION(pgqueue_kv_on_write) {
    TriggerData* data =
        Called(fcinfo, [](TriggerEvent event) { return TRIGGER_FIRED_BEFORE(event) && IsWrite(event); });
    if (pg::ArrivesInBulk())
        return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple);
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("rows of the table \"%s\" of a store can only be selected and deleted",
                           RelationGetRelationName(data->tg_relation)),
                    errhint("Use kv.set, kv.touch or kv.incr.")));
    return PointerGetDatum(nullptr);
}

PGQUEUE_FUNCTION(pgqueue_kv_on_change) {
    TriggerData* data = Called(fcinfo, [](TriggerEvent event) { return TRIGGER_FIRED_AFTER(event) && IsWrite(event); });
    HeapTuple row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
    if (RecoveryInProgress() || IsBinaryUpgrade || !ItemPointerIsValid(&row->t_self)) return PointerGetDatum(nullptr);
    KeepOne(data->tg_relation, row);
    const TimestampTz expires_at = ValueHeadOf(row->t_data)->expires_at;
    if (TIMESTAMP_IS_NOEND(expires_at)) return PointerGetDatum(nullptr);
    const page::SegmentRef map = page::Attach(data->tg_relation, false, 0);
    const BlockNumber block = ItemPointerGetBlockNumber(&row->t_self);
    page::ReserveTouches(1);
    page::MakeRoom(map, 0, block);
    page::TouchOnCommit(map, 0, block, TIMESTAMP_IS_NOBEGIN(expires_at) ? page::kUnknown : page::BoundOf(expires_at));
    return PointerGetDatum(nullptr);
}

PGQUEUE_FUNCTION(pgqueue_kv_on_settings) {
    TriggerData* data = pg::RowTrigger(fcinfo, kSchema, [](TriggerEvent event) { return TRIGGER_FIRED_AFTER(event); });
    if (data == nullptr || RelationGetRelid(data->tg_relation) != pg::RelationIn(kSchema, "settings"))
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("this trigger is only for the table kv.settings")));
    InvalidateStoreOf(data->tg_relation, data->tg_trigtuple);
    if (TRIGGER_FIRED_BY_UPDATE(data->tg_event)) InvalidateStoreOf(data->tg_relation, data->tg_newtuple);
    return PointerGetDatum(nullptr);
}
