// queue.measure: the figures behind queue.metrics and queue.health, for one queue. pgqueue.shared_memory: those of the
// server.
#include "pgqueue/page/released_leases.hpp"
#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/function.hpp"
#include "pgqueue/pg/role.hpp"
#include "pgqueue/queue/figures.hpp"
#include "pgqueue/sql/args.hpp"
#include "pgqueue/sql/result_set.hpp"
#include "pgqueue/version.hpp"

using namespace pgqueue;
using namespace pgqueue::queue;
using namespace pgqueue::sql;

namespace {

struct Problem {
    int sqlstate = 0;  // 0: none
    const char* text = nullptr;
    const char* hint = nullptr;
};

// What is known of a queue. The figures are missing where there is a problem with its table.
struct Measured {
    std::optional<Figures> figures;
    bool has_archive = false;
    char dead_letter[NAMEDATALEN] = "";
    pg::Vector<Oid> segments;
    int64 bytes = 0;
};

Oid RelationOf(const char* queue, void (*namer)(const char*, char*)) {
    char name[NAMEDATALEN];
    namer(queue, name);
    return pg::RelationIn(kSchema, name);
}

void MeasureTable(const char* name, Measured* measured) {
    const OpenedQueue opened = Open(name, 0, AccessShareLock);
    measured->has_archive = OidIsValid(opened.queue->archive);
    strlcpy(measured->dead_letter, opened.queue->dead_letter, NAMEDATALEN);
    // An unlogged table's file isn't there.
    if (!RecoveryInProgress() || RelationNeedsWAL(opened.segment)) measured->figures = Estimate(opened);
    Close(opened, AccessShareLock);
}

// An error that says that something is wrong with this queue, as opposed to with us.
bool IsOfQueue(int sqlstate) {
    return sqlstate != ERRCODE_QUERY_CANCELED && ERRCODE_TO_CATEGORY(sqlstate) != ERRCODE_OPERATOR_INTERVENTION &&
           ERRCODE_TO_CATEGORY(sqlstate) != ERRCODE_INSUFFICIENT_RESOURCES;
}

// One queue that can't be used must not hide the others: in a subtransaction, of which an error is the result.
Problem Guarded(const char* name, Measured* measured) {
    Problem problem;
    const MemoryContext context = CurrentMemoryContext;
    const ResourceOwner owner = CurrentResourceOwner;
    BeginInternalSubTransaction(nullptr);
    MemoryContextSwitchTo(context);
    PG_TRY();
    {
        MeasureTable(name, measured);
        ReleaseCurrentSubTransaction();
    }
    PG_CATCH();
    {
        MemoryContextSwitchTo(context);
        ErrorData* error = CopyErrorData();
        FlushErrorState();
        RollbackAndReleaseCurrentSubTransaction();
        CurrentResourceOwner = owner;
        if (!IsOfQueue(error->sqlerrcode)) ReThrowError(error);
        problem = {error->sqlerrcode, error->message, error->hint};
        measured->figures.reset();
    }
    PG_END_TRY();
    MemoryContextSwitchTo(context);
    CurrentResourceOwner = owner;
    return problem;
}

int64 NumberOf(PGFunction function, Oid relation);

// Waits for nobody: whoever has the table, or an index, for himself may take hours.
Problem Measure(const char* name, Oid parent, Measured* measured) {
    const pg::Vector<Oid> tables = TablesOf(parent, name);
    measured->segments.assign(tables.begin() + 1, tables.end());
    pg::Vector<Oid> locked;
    if (!LockAtOnce(tables, &locked))
        return {ERRCODE_LOCK_NOT_AVAILABLE, psprintf("the table of queue \"%s\" is locked by another session", name),
                "Look for the session in pg_locks; reads and sends wait for it too."};
    const Problem problem = Guarded(name, measured);
    // A size takes locks of its own.
    for (const Oid segment : measured->segments) measured->bytes += NumberOf(pg_total_relation_size, segment);
    UnlockAll(locked);
    return problem;
}

int64 Rounded(double count) { return static_cast<int64>(std::llround(count)); }

// A counter of the server's cumulative statistics, or a size; 0 where there is none.
int64 NumberOf(PGFunction function, Oid relation) {
    LOCAL_FCINFO(call, 1);
    InitFunctionCallInfoData(*call, nullptr, 1, InvalidOid, nullptr, nullptr);
    call->args[0].value = ObjectIdGetDatum(relation);
    call->args[0].isnull = false;
    const Datum value = function(call);
    return call->isnull ? 0 : DatumGetInt64(value);
}

// What is missing of a queue that can be used all the same.
Problem MissingPart(const char* name, const Measured& measured) {
    if (!measured.has_archive)
        return {ERRCODE_UNDEFINED_TABLE, psprintf("queue \"%s\" has no archive", name),
                psprintf("Call queue.create('%s', ...) with the queue's settings: it makes one.", name)};
    if (measured.dead_letter[0] != '\0' && !OidIsValid(RelationOf(measured.dead_letter, ParentName)))
        return {ERRCODE_UNDEFINED_TABLE,
                psprintf("the dead-letter queue \"%s\" of queue \"%s\" does not exist", measured.dead_letter, name),
                psprintf("Create it, or name another one: queue.alter('%s', dead_letter => ...).", name)};
    if (!measured.figures) return {};
    const ItemPointerData* row = &measured.figures->not_a_message;
    if (!OffsetNumberIsValid(ItemPointerGetOffsetNumberNoCheck(row))) return {};
    return {ERRCODE_DATA_CORRUPTED,
            psprintf("row (%u,%u) of queue \"%s\" is not a message", ItemPointerGetBlockNumberNoCheck(row),
                     ItemPointerGetOffsetNumberNoCheck(row), name),
            "It was stored under another definition of the table. Delete it."};
}

}  // namespace

// Totals come from the server's cumulative statistics of the tables, so they lag by a moment and start again where
// those are reset.
PGQUEUE_FUNCTION(pgqueue_measure) {
    constexpr int kColumns = 19;
    const Args args(fcinfo);
    const char* name = args.Text(0, "queue_name");
    CheckName(name);
    ResultSet result(fcinfo, kColumns);

    // No row for a queue that is gone, or that the role may not look at: the view shows the others.
    const Oid parent = RelationOf(name, ParentName);
    if (!OidIsValid(parent) || !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(parent)) || !pg::MayMeasure(parent))
        return 0;

    Measured measured;
    Problem problem = Measure(name, parent, &measured);
    if (problem.sqlstate == ERRCODE_UNDEFINED_TABLE && !OidIsValid(RelationOf(name, ParentName))) return 0;
    if (problem.sqlstate == 0) problem = MissingPart(name, measured);

    std::array<Datum, kColumns> row = {};
    std::array<bool, kColumns> nulls = {};
    int column = 0;
    const auto add = [&](Datum value, bool null = false) {
        nulls[column] = null;
        row[column++] = value;
    };
    const bool counted = measured.figures.has_value();
    const Figures figures = counted ? *measured.figures : Figures{};
    const TimestampTz now = GetCurrentTimestamp();
    const auto add_count = [&](double count, bool null) { add(Int64GetDatum(Rounded(count)), null); };
    const auto add_age = [&](TimestampTz since) {
        const bool none = !counted || TIMESTAMP_NOT_FINITE(since);
        add(Float8GetDatum(none ? 0 : static_cast<double>(std::max<int64>(now - since, 0)) / USECS_PER_SEC), none);
    };

    add_count(figures.ready, !counted);
    add_count(figures.in_flight, !counted);
    add_count(figures.delayed, !counted);
    // Of a dead-letter queue that this role may look at.
    Measured dead;
    const Oid dead_parent = measured.dead_letter[0] != '\0' ? RelationOf(measured.dead_letter, ParentName) : InvalidOid;
    if (OidIsValid(dead_parent) && pg::MayMeasure(dead_parent)) (void)Measure(measured.dead_letter, dead_parent, &dead);
    add_count(dead.figures ? dead.figures->Waiting() : 0, !dead.figures);

    int64 sent = 0;
    int64 removed = 0;
    const bool sized = problem.sqlstate != ERRCODE_LOCK_NOT_AVAILABLE;
    for (const Oid segment : measured.segments) {
        sent += NumberOf(pg_stat_get_tuples_inserted, segment);
        removed += NumberOf(pg_stat_get_tuples_deleted, segment);
    }
    const Oid archive = RelationOf(name, ArchiveName);
    int64 archived = OidIsValid(archive) ? NumberOf(pg_stat_get_tuples_inserted, archive) : 0;
    if (OidIsValid(archive))
        for (const SegmentTable& part : ArchivePartsOf(archive, name))
            archived += NumberOf(pg_stat_get_tuples_inserted, part.table);
    add(Int64GetDatum(sent));
    add(Int64GetDatum(std::max<int64>(removed - archived, 0)));
    add(Int64GetDatum(archived));
    add_age(figures.oldest);
    add_age(figures.newest);
    add(Int64GetDatum(measured.bytes), !sized);
    add(Int64GetDatum(static_cast<int64>(measured.segments.size())));
    add(BoolGetDatum(figures.exact), !counted);
    add_count(std::ceil(figures.margin), !counted);
    add_age(figures.ready_since);
    add(Int32GetDatum(figures.most_attempts), !counted);
    add_count(std::max(figures.table_pages - figures.live_pages, 0.0) * BLCKSZ, !counted);
    add(problem.sqlstate != 0 ? CStringGetTextDatum(unpack_sql_state(problem.sqlstate)) : 0, problem.sqlstate == 0);
    add(problem.text != nullptr ? CStringGetTextDatum(problem.text) : 0, problem.text == nullptr);
    add(problem.hint != nullptr ? CStringGetTextDatum(problem.hint) : 0, problem.hint == nullptr);
    result.Add(row.data(), nulls.data());
    return 0;
}

// The version is that of the objects here if the library serves it: queue.health takes any other for trouble.
PGQUEUE_FUNCTION(pgqueue_shared_memory) {
    constexpr int kColumns = 4;
    ResultSet result(fcinfo, kColumns);
    const char* installed = pg::ExtensionVersion();
    const page::MapShortages shortages = page::Shortages();
    Datum row[kColumns] = {CStringGetTextDatum(Serves(installed) ? installed : kVersion),
                           Int64GetDatum(static_cast<int64>(shortages.maps)),
                           Int64GetDatum(static_cast<int64>(shortages.nodes)),
                           Int64GetDatum(static_cast<int64>(page::ForgottenReleases()))};
    bool nulls[kColumns] = {};
    result.Add(row, nulls);
    return 0;
}
