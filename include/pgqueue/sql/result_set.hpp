// What SQL functions share besides their arguments.
#pragma once

#include "pgqueue/pg/memory.hpp"

namespace pgqueue::sql {

// What writes refuses a read-only transaction and a standby.
inline void PreventWrite(const char* function) {
    PreventCommandIfReadOnly(function);
    PreventCommandDuringRecovery(function);
}

// A function's set of rows, stored in the executor's tuplestore.
class ResultSet {
public:
    explicit ResultSet(FunctionCallInfo fcinfo, int columns) {
        InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
        info_ = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
        if (info_->setDesc->natts != columns)
            ereport(ERROR,
                    (errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("the function's result type doesn't match its library"),
                     errhint("Run ALTER EXTENSION pgqueue UPDATE.")));
    }
    void Add(Datum* values, bool* nulls) { tuplestore_putvalues(info_->setResult, info_->setDesc, values, nulls); }

private:
    ReturnSetInfo* info_;
};

}  // namespace pgqueue::sql
