// The main of a handler's process: a background worker that logs in as the handler's role, waits for messages of its
// queue and calls the function with each.
//
// A message's call is one transaction: the lease, the delete, the call, the commit. It is deleted *before* the call: so
// nobody else can have the message while the function runs, however long that takes, and what it has done in the
// database is committed together with the message's end or not at all. An error rolls all back but keeps the lease,
// and the message is given up (GiveUp) by its receipt in a transaction of its own. Whatever else ends the process rolls
// back as well, which gives the lease back.
//
// Of a batch all messages share a transaction. One that fails undoes all of it, and then each has one to itself.
#include "pgqueue/page/transaction.hpp"
#include "pgqueue/pg/worker_process.hpp"
#include "pgqueue/queue/ack.hpp"
#include "pgqueue/queue/attachments.hpp"
#include "pgqueue/queue/grouping.hpp"
#include "pgqueue/queue/handler_slots.hpp"
#include "pgqueue/queue/message_values.hpp"
#include "pgqueue/queue/wait.hpp"
#include "pgqueue/settings.hpp"

namespace pgqueue::queue {
namespace {

constexpr AclMode kConsume = ACL_SELECT | ACL_UPDATE | ACL_DELETE;
// Where the queue has no backoff: a message that fails must not be tried a thousand times a second.
constexpr double kFirstPause = 0.1;
constexpr double kLongestPause = 30;

int my_slot = -1;
bool claimed = false;
bool ended_well = false;
bool terminated = false;           // by a signal of whoever may send one, the function itself too
char failure[kHandlerErrorBytes];  // why the process ends
emit_log_hook_type previous_log_hook;

void NoteFailure(const ErrorData* error) {
    strlcpy(failure, error->message != nullptr ? error->message : "", sizeof(failure));
}

// What ends the process is seen nowhere else: no role, no right to connect.
void OnLog(ErrorData* error) {
    if (error->elevel >= FATAL && failure[0] == '\0') {
        terminated = error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN;
        NoteFailure(error);
    }
    if (previous_log_hook != nullptr) previous_log_hook(error);
}

void OnExit(int, Datum) {
    if (claimed) LeaveProcess(my_slot, ended_well ? nullptr : failure, terminated);
}

// Keeps the rows as they come.
class Rows : public RowSink {
public:
    void Take(Relation, HeapTuple tuple) override { rows.push_back(heap_copytuple(tuple)); }
    pg::Vector<HeapTuple> rows;
};

// Whether anything has changed in the catalogs that decides which function is called.
bool changed = true;
void OnChange(Datum, int, uint32) { changed = true; }

class Process {
public:
    explicit Process(const HandlerOrder& order) : order_(order) {}
    void Run();

private:
    bool Work();
    bool ReadBatch();
    void Resolve();
    void CallAll();
    void CallOne(const OpenedQueue& opened, HeapTuple row);
    void CallAlone(HeapTuple row);
    void GiveUp(HeapTuple row);
    void PutBack(HeapTuple row);
    page::GroupHash GroupInHand(HeapTuple row);
    void TakeError();
    void Begin();
    static void Describe(void* process);

    const HandlerOrder& order_;
    MemoryContext context_ = nullptr;   // of a batch
    MemoryContext function_ = nullptr;  // of what the function keeps from call to call
    Attachment attachment_{};
    FmgrInfo call_{};
    TupleDesc shape_ = nullptr;  // of queue.message
    std::optional<Waiter> waiter_;
    bool paused_ = false;
    bool grouped_ = false;  // a fifo queue
    bool idle_ = false;     // as it is shown
    OpenedQueue opened_{};
    pg::Vector<HeapTuple>* batch_ = nullptr;
    pg::Vector<int64>* receipts_ = nullptr;  // of the batch, ascending
    char error_[kHandlerErrorBytes] = {};
    int64 current_ = 0;  // the message in hand
    MessageCounts counts_;
};

void Process::Describe(void* process) {
    const auto* self = static_cast<Process*>(process);
    errcontext("handler %s of queue \"%s\", message " INT64_FORMAT, self->attachment_.handler, self->order_.queue,
               self->current_);
}

void Process::Begin() {
    SetCurrentStatementStartTimestamp();
    StartTransactionCommand();
    MemoryContextSwitchTo(context_);
}

void Process::Resolve() {
    changed = false;
    if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(order_.role)))
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("role with OID %u does not exist", order_.role)));
    MemoryContextReset(function_);
    fmgr_info_cxt(ResolveHandler(attachment_.handler), &call_, function_);
    const MemoryContext old = MemoryContextSwitchTo(function_);
    shape_ = lookup_rowtype_tupdesc_copy(MessageType(), -1);
    MemoryContextSwitchTo(old);
    if (shape_->natts != kMessageColumns)
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("the type queue.message doesn't match its library"),
                        errhint("Run ALTER EXTENSION pgqueue UPDATE.")));
}

// In the transaction that the calls will be in. False: there is nothing, and no transaction any more.
bool Process::ReadBatch() {
    Begin();
    opened_ = Open(order_.queue, kConsume, RowExclusiveLock);
    if (changed) Resolve();
    if (waiter_) waiter_->Enter(MapOf(opened_));
    ReadOptions options;
    options.qty = attachment_.batch;
    options.vt = attachment_.vt.value_or(opened_.queue->vt);
    options.grouped = grouped_ = opened_.queue->fifo;
    Rows sink;
    PushActiveSnapshot(GetTransactionSnapshot());  // for what is moved to the dead letters
    Read(opened_, options, &sink);
    PopActiveSnapshot();
    if (!sink.rows.empty()) {
        batch_ = new (palloc(sizeof(*batch_))) pg::Vector<HeapTuple>(std::move(sink.rows));
        receipts_ = new (palloc(sizeof(*receipts_))) pg::Vector<int64>();
        for (HeapTuple row : *batch_) receipts_->push_back(HeadOf(row->t_data)->receipt);
        std::sort(receipts_->begin(), receipts_->end());
        return true;
    }
    paused_ = opened_.queue->paused;
    Close(opened_, RowExclusiveLock);
    CommitTransactionCommand();
    return false;
}

void Process::CallOne(const OpenedQueue& opened, HeapTuple row) {
    const RowHead* head = HeadOf(row->t_data);
    current_ = head->msg_id;
    CHECK_FOR_INTERRUPTS();
    PushActiveSnapshot(GetTransactionSnapshot());
    Datum values[kMessageColumns];
    bool nulls[kMessageColumns];
    struct varlena* fetched[kMessageColumns];
    MessageValues(row, RelationGetDescr(opened.segment), values, nulls, fetched);
    HeapTuple message = heap_form_tuple(shape_, values, nulls);
    const Datum argument = HeapTupleGetDatum(message);

    const MessageId id{head->msg_id, head->receipt};
    bool deleted = false;
    Acker(opened, nullptr).Run(&id, 1, &deleted);
    PopActiveSnapshot();  // the message's TOAST is fetched and deleted under it
    if (!deleted) {
        counts_.lost++;
        return;
    }
    CommandCounterIncrement();
    PushActiveSnapshot(GetTransactionSnapshot());
    if (StatementTimeout > 0) enable_timeout_after(STATEMENT_TIMEOUT, StatementTimeout);
    LOCAL_FCINFO(fcinfo, 1);
    InitFunctionCallInfoData(*fcinfo, &call_, 1, InvalidOid, nullptr, nullptr);
    fcinfo->args[0].value = argument;
    fcinfo->args[0].isnull = false;
    PgStat_FunctionCallUsage usage;
    pgstat_init_function_usage(fcinfo, &usage);
    (void)FunctionCallInvoke(fcinfo);
    pgstat_end_function_usage(&usage, true);
    if (StatementTimeout > 0) disable_timeout(STATEMENT_TIMEOUT, false);
    PopActiveSnapshot();
    CommandCounterIncrement();
    counts_.processed++;
}

// Ends what the error has broken off, and keeps the leases of what was read.
void Process::TakeError() {
    HOLD_INTERRUPTS();
    disable_timeout(STATEMENT_TIMEOUT, false);
    QueryCancelPending = false;
    MemoryContextSwitchTo(context_);
    ErrorData* error = CopyErrorData();
    strlcpy(error_, error->message != nullptr ? error->message : "", sizeof(error_));
    FreeErrorData(error);
    EmitErrorReport();
    // What the function has leased by itself is given back.
    page::KeepHeldLeases(receipts_->data(), static_cast<int>(receipts_->size()));
    AbortOutOfAnyTransaction();
    FlushErrorState();
    MemoryContextSwitchTo(context_);
    RESUME_INTERRUPTS();
}

// The transaction is there, with the messages leased.
void Process::CallAll() {
    volatile bool failed = false;
    ErrorContextCallback context = {error_context_stack, Describe, this};
    ErrorContextCallback* outer = error_context_stack;
    PG_TRY();
    {
        error_context_stack = &context;
        for (HeapTuple row : *batch_) CallOne(opened_, row);
        Close(opened_);
        CommitTransactionCommand();
        error_context_stack = outer;
    }
    PG_CATCH();
    {
        TakeError();
        failed = true;
    }
    PG_END_TRY();
    error_context_stack = outer;
    if (!failed) return;
    counts_ = {};
    if (batch_->size() == 1) {
        GiveUp((*batch_)[0]);
        return;
    }
    // Of a fifo queue's group nothing is called after one that wasn't done; the rest comes back behind it.
    pg::Vector<page::GroupHash> stopped;
    for (HeapTuple row : *batch_) {
        const page::GroupHash group = GroupInHand(row);
        if (group != 0 && std::find(stopped.begin(), stopped.end(), group) != stopped.end()) {
            PutBack(row);
            continue;
        }
        const int64 processed = counts_.processed;
        CallAlone(row);
        if (group != 0 && counts_.processed == processed) stopped.push_back(group);
    }
}

// The message's group, if its queue is a fifo queue.
page::GroupHash Process::GroupInHand(HeapTuple row) {
    if (!grouped_) return 0;
    Begin();
    const OpenedQueue opened = Open(order_.queue, ACL_SELECT, RowExclusiveLock);
    const page::GroupHash group = GroupOf(opened.segment, row);
    Close(opened);
    CommitTransactionCommand();
    MemoryContextSwitchTo(context_);
    return group;
}

// It wasn't called, so that was no attempt: or those behind one that always fails would become dead letters with it.
void Process::PutBack(HeapTuple row) {
    const RowHead* head = HeadOf(row->t_data);
    Begin();
    const OpenedQueue opened = Open(order_.queue, ACL_UPDATE, RowExclusiveLock);
    (void)queue::PutBack(opened, {head->msg_id, head->receipt});
    Close(opened);
    CommitTransactionCommand();
    MemoryContextSwitchTo(context_);
}

void Process::CallAlone(HeapTuple row) {
    volatile bool failed = false;
    const MessageCounts before = counts_;
    ErrorContextCallback context = {error_context_stack, Describe, this};
    ErrorContextCallback* outer = error_context_stack;
    PG_TRY();
    {
        Begin();
        opened_ = Open(order_.queue, kConsume, RowExclusiveLock);
        if (changed) Resolve();
        error_context_stack = &context;
        CallOne(opened_, row);
        Close(opened_);
        CommitTransactionCommand();
        error_context_stack = outer;
    }
    PG_CATCH();
    {
        TakeError();
        failed = true;
    }
    PG_END_TRY();
    error_context_stack = outer;
    if (!failed) return;
    counts_ = before;
    GiveUp(row);
}

// The message comes back after the queue's backoff. error_ is why.
void Process::GiveUp(HeapTuple row) {
    const RowHead* head = HeadOf(row->t_data);
    Begin();
    const OpenedQueue opened = Open(order_.queue, ACL_UPDATE, RowExclusiveLock);
    std::optional<double> delay;  // nothing: the queue's backoff
    if (opened.queue->backoff == 0)
        delay = std::min(kFirstPause * std::pow(2.0, std::min(head->read_ct - 1, 20)), kLongestPause);
    PushActiveSnapshot(GetTransactionSnapshot());
    (void)Nack(opened, {head->msg_id, head->receipt}, delay, cstring_to_text(error_));
    PopActiveSnapshot();
    Close(opened);
    CommitTransactionCommand();
    MemoryContextSwitchTo(context_);
    counts_.failed++;
}

// False: there was nothing to do.
bool Process::Work() {
    const pg::DieAtOnce die_at_once;
    MemoryContextSwitchTo(context_);
    MemoryContextReset(context_);
    if (!ReadBatch()) return false;
    waiter_.reset();
    SetBusy(my_slot, true);
    if (std::exchange(idle_, false)) pgstat_report_activity(STATE_RUNNING, debug_query_string);
    counts_ = {};
    error_[0] = '\0';
    CallAll();
    CountMessages(my_slot, counts_, counts_.failed > 0 ? error_ : nullptr);
    return true;
}

void Process::Run() {
    context_ = AllocSetContextCreate(TopMemoryContext, "pgqueue batch", ALLOCSET_DEFAULT_SIZES);
    function_ = AllocSetContextCreate(TopMemoryContext, "pgqueue function", ALLOCSET_DEFAULT_SIZES);
    for (const int cache : {PROCOID, AUTHOID, AUTHMEMROLEMEM, NAMESPACEOID, TYPEOID})
        CacheRegisterSyscacheCallback(cache, OnChange, Datum{0});
    {
        const pg::DieAtOnce die_at_once;
        Begin();
        MemoryContextSwitchTo(TopMemoryContext);
        const auto attachment = ReadAttachment(order_.queue);
        const bool other = attachment && get_role_oid(attachment->run_as, true) != order_.role;
        CommitTransactionCommand();
        // Detached meanwhile, or replaced: another role's handler isn't called as ours.
        if (!attachment || other) return;
        attachment_ = *attachment;
    }
    debug_query_string = psprintf("handler %s", attachment_.handler);
    pgstat_report_activity(STATE_RUNNING, debug_query_string);
    while (!ShutdownRequestPending && !MustStop(my_slot)) {
        if (ConfigReloadPending) {
            ConfigReloadPending = false;
            ProcessConfigFile(PGC_SIGHUP);
        }
        if (Work()) {
            pgstat_report_stat(false);
            continue;
        }
        if (!waiter_) {  // once more, now that whatever comes will wake us
            SetBusy(my_slot, false);
            waiter_.emplace(settings::handler_idle_time / 1000.0, false);
            continue;
        }
        if (!std::exchange(idle_, true)) {
            pgstat_report_stat(true);
            pgstat_report_activity(STATE_IDLE, debug_query_string);
        }
        if (!waiter_->Sleep(paused_, true)) break;
    }
}

}  // namespace
}  // namespace pgqueue::queue

extern "C" PGDLLEXPORT void pgqueue_handler(Datum arg) {
    using namespace pgqueue;
    using namespace pgqueue::queue;
    my_slot = DatumGetInt32(arg);
    uint32 generation = 0;
    memcpy(&generation, MyBgworkerEntry->bgw_extra, sizeof(generation));
    HandlerOrder order = {};
    before_shmem_exit(OnExit, 0);
    claimed = ClaimProcess(my_slot, generation, &order);
    if (!claimed) return;
    previous_log_hook = std::exchange(emit_log_hook, OnLog);
    pg::BeginWorker();
    {
        const pg::DieAtOnce die_at_once;
        BackgroundWorkerInitializeConnectionByOid(order.database, order.role, 0);
        ConfigReloadPending = true;  // a reload before BeginWorker told nobody
        process_session_preload_libraries();
    }
    char name[BGW_MAXLEN];
    pg_snprintf(name, sizeof(name), "pgqueue handler of %s", order.queue);
    pgstat_report_appname(name);
    Process process(order);
    PG_TRY();
    {
        process.Run();
        ended_well = true;
    }
    PG_CATCH();
    {
        HOLD_INTERRUPTS();
        MemoryContextSwitchTo(TopMemoryContext);
        ErrorData* error = CopyErrorData();
        NoteFailure(error);
        EmitErrorReport();
        AbortOutOfAnyTransaction();
        FlushErrorState();
        RESUME_INTERRUPTS();
    }
    PG_END_TRY();
}
