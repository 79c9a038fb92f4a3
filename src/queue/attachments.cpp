#include "pgqueue/queue/attachments.hpp"

#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/pg/role.hpp"
#include "pgqueue/pg/run_as.hpp"

namespace pgqueue::queue {
namespace {

// Columns of queue.attachments.
enum Column : AttrNumber { kQueueName = 1, kHandler = 2, kRunAs = 4, kBatch = 5, kVt = 6 };

constexpr AclMode kConsume = ACL_SELECT | ACL_UPDATE | ACL_DELETE;
constexpr const char* kLogInHint =
    "A handler's processes log in as its role: ALTER ROLE ... LOGIN, or name another with run_as.";
constexpr const char* kHandlerHint =
    "A handler is named without its arguments: a function with one of type queue.message that returns no set; what it "
    "returns is ignored.";

void CheckRunAs(const OpenedQueue& opened, const char* role, Oid function) {
    const Oid oid = get_role_oid(role, false);
    if (pg_class_aclmask(opened.queue->parent, oid, kConsume, ACLMASK_ALL) != kConsume)
        ereport(ERROR,
                (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                 errmsg("role \"%s\" may not consume from queue \"%s\"", role, opened.queue->name),
                 errhint("The owner can allow it: queue.grant('%s', '%s', 'consume').", opened.queue->name, role)));
    if (!compat::MayExecute(function, oid))
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                        errmsg("role \"%s\" may not execute function %s", role, get_func_name(function)),
                        errhint("Its owner can allow it: GRANT EXECUTE ON FUNCTION ... TO ...")));
}

// Who may put something else in the place of a handler, or take it away.
void CheckMayReplace(const char* queue, Oid owner, const char* run_as) {
    if (pg::MayActAs(run_as) || has_privs_of_role(GetUserId(), owner)) return;
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                    errmsg("queue \"%s\" has a handler of role \"%s\"", queue, run_as),
                    errhint("Only the queue's owner and members of that role may change it.")));
}

const char* Qualified(Oid function) {
    return quote_qualified_identifier(get_namespace_name(get_func_namespace(function)), get_func_name(function));
}

// The role that the attached handler runs as, or nullptr; the row is locked.
const char* RunAsOf(Oid extension_owner, const char* queue) {
    const pg::RunAs as(extension_owner);
    pg::Spi spi;
    Oid types[] = {TEXTOID};
    Datum values[] = {CStringGetTextDatum(queue)};
    if (spi.Run("SELECT run_as FROM queue.attachments WHERE queue_name = $1 FOR UPDATE", 1, types, values) == 0)
        return nullptr;
    const char* role = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
    return strcpy(static_cast<char*>(SPI_palloc(strlen(role) + 1)), role);
}

}  // namespace

Oid MessageType() {
    const Oid schema = get_namespace_oid(kSchema, false);
    return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("message"), ObjectIdGetDatum(schema));
}

Oid ResolveHandler(const char* handler) {
    const Oid message = MessageType();
    List* name = compat::QualifiedName(handler);
    const Oid function = LookupFuncName(name, 1, &message, true);
    if (!OidIsValid(function))
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
                        errmsg("function %s does not exist", func_signature_string(name, 1, NIL, &message)),
                        errhint("%s", kHandlerHint)));
    HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
    if (!HeapTupleIsValid(tuple)) elog(ERROR, "cache lookup failed for function %u", function);
    const auto* form = reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple));
    const bool plain = form->prokind == PROKIND_FUNCTION && !form->proretset;
    ReleaseSysCache(tuple);
    if (!plain)
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("%s is not a plain function", handler),
                        errhint("%s", kHandlerHint)));
    if (!compat::MayExecute(function, GetUserId()))
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied for function %s", handler)));
    return function;
}

void Attach(const char* queue, const AttachSettings& settings) {
    const Oid function = ResolveHandler(settings.handler);
    const char* handler = Qualified(function);
    const char* run_as = settings.run_as != nullptr ? settings.run_as : GetUserNameFromId(GetUserId(), false);
    const OpenedQueue opened = Open(queue, kConsume, AccessShareLock);
    pg::CheckMayRun(run_as, "handlers", kLogInHint);
    CheckRunAs(opened, run_as, function);
    const Oid owner = opened.queue->owner;
    Close(opened);

    const Oid extension_owner = pg::ExtensionOwner();
    Oid types[] = {TEXTOID, TEXTOID, INT8OID, TEXTOID, INT8OID, FLOAT8OID};
    Datum values[] = {CStringGetTextDatum(queue),          CStringGetTextDatum(handler),
                      Int64GetDatum(settings.concurrency), CStringGetTextDatum(run_as),
                      Int64GetDatum(settings.batch),       Float8GetDatum(settings.vt.value_or(-1))};
    // Two sessions that attach to one queue meet here.
    {
        const pg::RunAs as(extension_owner);
        pg::Spi spi;
        if (spi.Run("INSERT INTO queue.attachments VALUES ($1, $2, $3, $4, $5, nullif($6, -1)) ON CONFLICT DO NOTHING",
                    6, types, values) > 0)
            return;
    }
    const char* before = RunAsOf(extension_owner, queue);
    if (before != nullptr) CheckMayReplace(queue, owner, before);
    const pg::RunAs as(extension_owner);
    pg::Spi spi;
    spi.Run("INSERT INTO queue.attachments VALUES ($1, $2, $3, $4, $5, nullif($6, -1)) "
            "ON CONFLICT (queue_name) DO UPDATE SET handler = $2, concurrency = $3, run_as = $4, batch = $5, "
            "vt = nullif($6, -1)",
            6, types, values);
}

bool Detach(const char* queue) {
    CheckName(queue);
    char parent[NAMEDATALEN];
    ParentName(queue, parent);
    const Oid table = pg::LockedRelationIn(kSchema, parent);
    if (!OidIsValid(table))
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("queue \"%s\" does not exist", queue),
                        errhint("Create it with queue.create('%s').", queue)));
    const Oid extension_owner = pg::ExtensionOwner();
    const char* run_as = RunAsOf(extension_owner, queue);
    if (run_as == nullptr) return false;
    CheckMayReplace(queue, pg::OwnerOf(table), run_as);
    const pg::RunAs as(extension_owner);
    pg::Spi spi;
    Oid types[] = {TEXTOID};
    Datum values[] = {CStringGetTextDatum(queue)};
    return spi.Run("DELETE FROM queue.attachments WHERE queue_name = $1", 1, types, values) > 0;
}

std::optional<Attachment> ReadAttachment(const char* queue) {
    std::optional<Attachment> found;
    pg::WithRowOf(pg::ExtensionRelation(kSchema, "attachments"), kQueueName, queue, AccessShareLock,
                  [&](Relation rel, HeapTuple tuple) {
                      const TupleDesc desc = RelationGetDescr(rel);
                      bool null = false;
                      Attachment read{};
                      read.handler = TextDatumGetCString(heap_getattr(tuple, kHandler, desc, &null));
                      read.run_as = TextDatumGetCString(heap_getattr(tuple, kRunAs, desc, &null));
                      read.batch = DatumGetInt64(heap_getattr(tuple, kBatch, desc, &null));
                      const Datum vt = heap_getattr(tuple, kVt, desc, &null);
                      if (!null) read.vt = DatumGetFloat8(vt);
                      found = read;
                  });
    return found;
}

}  // namespace pgqueue::queue
