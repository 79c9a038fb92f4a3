#include "pgqueue/queue/message_values.hpp"

namespace pgqueue::queue {

void MessageValues(HeapTuple row, TupleDesc desc, Datum* values, bool* nulls, struct varlena** fetched) {
    const RowHead* head = HeadOf(row->t_data);
    std::fill_n(nulls, kMessageColumns, false);
    std::fill_n(fetched, kMessageColumns, nullptr);
    values[0] = Int64GetDatum(head->msg_id);
    values[1] = Int32GetDatum(head->read_ct);
    values[2] = TimestampTzGetDatum(head->enqueued_at);
    values[3] = TimestampTzGetDatum(head->last_read_at);
    values[4] = TimestampTzGetDatum(head->vt);
    values[7] = Int32GetDatum(head->priority);
    values[9] = Int64GetDatum(head->receipt);
    nulls[3] = TIMESTAMP_IS_NOBEGIN(head->last_read_at);
    nulls[9] = head->receipt == 0;
    constexpr std::pair<int, Attribute> kStored[] = {{5, kMessage}, {6, kHeaders}, {8, kGroupKey}};
    for (const auto& [column, attribute] : kStored) {
        values[column] = heap_getattr(row, attribute, desc, &nulls[column]);
        if (nulls[column] || !VARATT_IS_EXTERNAL(DatumGetPointer(values[column]))) continue;
        fetched[column] = detoast_external_attr(reinterpret_cast<struct varlena*>(DatumGetPointer(values[column])));
        values[column] = PointerGetDatum(fetched[column]);
    }
}

}  // namespace pgqueue::queue
