// queue.measure: the figures behind the view queue.metrics, for one queue.
#include "pgqueue/pg/function.hpp"
#include "pgqueue/pg/run_as.hpp"
#include "pgqueue/queue/queue.hpp"
#include "pgqueue/queue/row.hpp"
#include "pgqueue/sql/args.hpp"

using namespace pgqueue;
using namespace pgqueue::queue;
using namespace pgqueue::sql;

// Counts the rows that the statement's snapshot sees. Totals come from the server's cumulative statistics of the
// tables, so they lag by a moment and start again where those are reset.
PGQUEUE_FUNCTION(pgqueue_measure) {
    const Args args(fcinfo);
    const char* name = args.Text(0, "queue_name");
    CheckName(name);
    char parent[NAMEDATALEN];
    char archive[NAMEDATALEN];
    ParentName(name, parent);
    ArchiveName(name, archive);
    InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
    auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);

    // No row for a queue that is gone, or that the role may not look at: the view shows the others.
    const Oid relation = get_relname_relid(parent, get_namespace_oid(kSchema, false));
    Relation locked = OidIsValid(relation) ? try_relation_open(relation, AccessShareLock) : nullptr;
    if (locked == nullptr) PG_RETURN_NULL();
    relation_close(locked, NoLock);
    if (pg_class_aclcheck(relation, GetUserId(), ACL_SELECT) != ACLCHECK_OK) PG_RETURN_NULL();

    pg::Spi spi;
    const char* sql = psprintf(
        "WITH rows AS (SELECT count(*) FILTER (WHERE vt <= now.at) AS ready, "
        "  count(*) FILTER (WHERE vt > now.at AND receipt <> 0) AS in_flight, "
        "  count(*) FILTER (WHERE vt > now.at AND receipt = 0) AS delayed, "
        "  extract(epoch FROM min(now.at) - min(enqueued_at))::float8 AS oldest_age, "
        "  extract(epoch FROM min(now.at) - max(enqueued_at))::float8 AS newest_age "
        "  FROM (SELECT clock_timestamp() AS at OFFSET 0) now, %s.%s), "
        "segments AS (SELECT sum(pg_stat_get_tuples_inserted(inhrelid)) AS sent, "
        "  sum(pg_stat_get_tuples_deleted(inhrelid)) AS removed, sum(pg_total_relation_size(inhrelid)) AS bytes, "
        "  count(*) AS n FROM pg_inherits WHERE inhparent = %s::regclass) "
        "SELECT ready, in_flight, delayed, sent::bigint, "
        "  greatest(removed - pg_stat_get_tuples_inserted(to_regclass(%s)), 0)::bigint, "
        "  pg_stat_get_tuples_inserted(to_regclass(%s)), oldest_age, newest_age, bytes::bigint, n FROM rows, segments",
        kSchema, quote_identifier(parent), quote_literal_cstr(quote_qualified_identifier(kSchema, parent)),
        quote_literal_cstr(quote_qualified_identifier(kSchema, archive)),
        quote_literal_cstr(quote_qualified_identifier(kSchema, archive)));
    if (spi.Run(sql) != 1) elog(ERROR, "no figures for queue \"%s\"", name);
    constexpr int kColumns = 10;
    if (result->setDesc->natts != kColumns) elog(ERROR, "queue.measure doesn't match its library");
    Datum values[kColumns];
    bool nulls[kColumns];
    for (int i = 0; i < kColumns; i++)
        values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &nulls[i]);
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
    PG_RETURN_NULL();
}
