#include "pgqueue/pg/execute.hpp"

#include "pgqueue/pg/compat.hpp"

namespace pgqueue::pg {
namespace {

void BeginCommand() {
    StartTransactionCommand();
    if (StatementTimeout > 0)
        enable_timeout_after(STATEMENT_TIMEOUT, StatementTimeout);
    else
        disable_timeout(STATEMENT_TIMEOUT, false);
}

void EndCommand() {
    disable_timeout(STATEMENT_TIMEOUT, false);
    CommitTransactionCommand();
}

// There is no client on the other side. The server would take its own standard input and output for it.
void RefuseCopyWithClient(Node* statement) {
    if (!IsA(statement, CopyStmt)) return;
    const auto* copy = reinterpret_cast<CopyStmt*>(statement);
    if (copy->filename == nullptr)
        ereport(ERROR,
                (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("COPY FROM STDIN and COPY TO STDOUT need a client"),
                 errhint("A job has none. COPY with a file or a program works, for those who may.")));
}

void Run(RawStmt* statement, const char* sql, MemoryContext context, StringInfo tags) {
    const CommandTag tag = CreateCommandTag(statement->stmt);
    BeginCommand();
    CHECK_FOR_INTERRUPTS();
    RefuseCopyWithClient(statement->stmt);

    const bool snapshot = analyze_requires_snapshot(statement);
    if (snapshot) PushActiveSnapshot(GetTransactionSnapshot());
    // The plan outlives a COMMIT inside of the statement.
    MemoryContext old = MemoryContextSwitchTo(context);
    List* queries = pg_analyze_and_rewrite_fixedparams(statement, sql, nullptr, 0, nullptr);
    List* plans = pg_plan_queries(queries, sql, CURSOR_OPT_PARALLEL_OK, nullptr);
    if (snapshot) PopActiveSnapshot();
    CHECK_FOR_INTERRUPTS();

    Portal portal = CreatePortal("", true, true);
    portal->visible = false;
    PortalDefineQuery(portal, nullptr, sql, tag, plans, nullptr);
    PortalStart(portal, nullptr, 0, InvalidSnapshot);
    int16 format = 0;
    PortalSetResultFormat(portal, 1, &format);
    DestReceiver* receiver = CreateDestReceiver(DestNone);
    MemoryContextSwitchTo(old);

    QueryCompletion completion;
    InitializeQueryCompletion(&completion);
    compat::RunPortal(portal, receiver, &completion);
    receiver->rDestroy(receiver);
    PortalDrop(portal, false);
    EndCommand();

    char text[COMPLETION_TAG_BUFSIZE];
    compat::CompletionText(text, completion);
    if (text[0] == '\0') return;
    if (tags->len > 0) appendStringInfoString(tags, "; ");
    appendStringInfoString(tags, text);
}

}  // namespace

void Execute(const char* sql, StringInfo tags) {
    MemoryContext outer = CurrentMemoryContext;
    MemoryContext whole = AllocSetContextCreate(outer, "pgqueue command", ALLOCSET_DEFAULT_SIZES);
    MemoryContextSwitchTo(whole);
    debug_query_string = sql;
    pgstat_report_activity(STATE_RUNNING, sql);
    BeginCommand();
    MemoryContextSwitchTo(whole);
    List* statements = pg_parse_query(sql);
    EndCommand();

    ListCell* cell = nullptr;
    foreach (cell, statements) {
        MemoryContextSwitchTo(whole);
        MemoryContext each = AllocSetContextCreate(whole, "pgqueue statement", ALLOCSET_DEFAULT_SIZES);
        auto* statement = static_cast<RawStmt*>(lfirst(cell));
        Run(statement, sql, each, tags);
        MemoryContextDelete(each);
    }
    MemoryContextSwitchTo(outer);
    if (IsTransactionBlock()) {
        ereport(ERROR,
                (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
                 errmsg("the command left a transaction open, which was rolled back"), errhint("End it with COMMIT.")));
    }
    MemoryContextDelete(whole);
    pgstat_report_stat(true);
    pgstat_report_activity(STATE_IDLE, nullptr);
    debug_query_string = nullptr;
}

}  // namespace pgqueue::pg
