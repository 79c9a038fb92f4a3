#include "pgqueue/worker/utility_hook.hpp"

#include "pgqueue/pg/compat.hpp"
#include "pgqueue/pg/worker_table.hpp"

namespace pgqueue::worker {
namespace {

ProcessUtility_hook_type previous_hook;

bool MayCreateDatabases() {
    if (superuser()) return true;
    HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
    const bool may = HeapTupleIsValid(tuple) && reinterpret_cast<Form_pg_authid>(GETSTRUCT(tuple))->rolcreatedb;
    if (HeapTupleIsValid(tuple)) ReleaseSysCache(tuple);
    return may;
}

// Databases that a command wants for itself, if the role may do that: nobody else may send workers away.
Oid OwnDatabase(const char* name) {
    const Oid database = get_database_oid(name, true);
    return OidIsValid(database) && compat::OwnsDatabase(database, GetUserId()) ? database : InvalidOid;
}

// Which all who may create databases may copy.
bool IsTemplate(Oid database) {
    HeapTuple tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
    const bool is = HeapTupleIsValid(tuple) && reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple))->datistemplate;
    if (HeapTupleIsValid(tuple)) ReleaseSysCache(tuple);
    return is;
}

Oid Template(const CreatedbStmt* statement) {
    const char* name = "template1";
    ListCell* cell = nullptr;
    foreach (cell, statement->options) {
        auto* option = static_cast<DefElem*>(lfirst(cell));
        if (strcmp(option->defname, "template") == 0 && option->arg != nullptr) name = defGetString(option);
    }
    const Oid database = MayCreateDatabases() ? get_database_oid(name, true) : InvalidOid;
    return OidIsValid(database) && (compat::OwnsDatabase(database, GetUserId()) || IsTemplate(database)) ? database
                                                                                                         : InvalidOid;
}

Oid WantedAlone(Node* statement) {
    switch (nodeTag(statement)) {
        case T_DropdbStmt:
            return OwnDatabase(reinterpret_cast<DropdbStmt*>(statement)->dbname);
        case T_CreatedbStmt:
            return Template(reinterpret_cast<CreatedbStmt*>(statement));
        case T_RenameStmt: {
            const auto* rename = reinterpret_cast<RenameStmt*>(statement);
            return rename->renameType == OBJECT_DATABASE ? OwnDatabase(rename->subname) : InvalidOid;
        }
        case T_AlterDatabaseStmt: {
            const auto* alter = reinterpret_cast<AlterDatabaseStmt*>(statement);
            ListCell* cell = nullptr;
            foreach (cell, alter->options)
                if (strcmp(static_cast<DefElem*>(lfirst(cell))->defname, "tablespace") == 0)
                    return OwnDatabase(alter->dbname);
            return InvalidOid;
        }
        default:
            return InvalidOid;
    }
}

// pg_cron has its things in the same schema. A plain "already exists" would not say what to do about its jobs.
void CheckBesidePgCron(const CreateExtensionStmt* statement) {
    if (strcmp(statement->extname, "pgqueue") != 0 || OidIsValid(get_extension_oid("pgqueue", true))) return;
    if (!OidIsValid(get_namespace_oid("cron", true))) return;
    const bool pg_cron = OidIsValid(get_extension_oid("pg_cron", true));
    ereport(ERROR,
            (errcode(ERRCODE_DUPLICATE_SCHEMA),
             pg_cron ? errmsg("the schema \"cron\" belongs to the extension \"pg_cron\" in this database")
                     : errmsg("schema \"cron\" already exists"),
             errdetail("pgqueue keeps its jobs in a schema of that name."),
             pg_cron ? errhint("To move over: CREATE TABLE old_jobs AS SELECT * FROM cron.job; DROP EXTENSION pg_cron; "
                               "CREATE EXTENSION pgqueue; INSERT INTO cron.job (jobname, schedule, command, database, "
                               "username, active) SELECT jobname, schedule, command, database, username, active FROM "
                               "old_jobs; or keep them in different databases.")
                     : errhint("Rename or drop that schema first.")));
}

// Whose settings a worker's session has too.
bool IsWorkersRole(const RoleSpec* role) {
    return role == nullptr || get_rolespec_oid(role, true) == BOOTSTRAP_SUPERUSERID;
}

// What the workers should look at once the command has been committed.
void TellAfter(Node* statement) {
    switch (nodeTag(statement)) {
        case T_CreatedbStmt:
            pg::TellLauncherAtCommit(get_database_oid(reinterpret_cast<CreatedbStmt*>(statement)->dbname, true));
            break;
        case T_CreateFunctionStmt:
        case T_RenameStmt:
        case T_AlterObjectSchemaStmt:
        case T_DropRoleStmt:
            pg::WakeWorkerAtCommit(pg::kFunctionsChanged);
            break;
        case T_DropStmt:
            pg::WakeWorkerAtCommit(pg::kFunctionsChanged);
            if (reinterpret_cast<DropStmt*>(statement)->removeType == OBJECT_EXTENSION)
                pg::WakeWorkerAtCommit(pg::kLookAround);
            break;
        case T_DropOwnedStmt:
            pg::WakeWorkerAtCommit(pg::kLookAround);
            break;
        case T_AlterExtensionStmt:
            pg::WakeWorkerAtCommit(pg::kLookAround | pg::kJobsChanged | pg::kRunsChanged | pg::kHandlersChanged);
            break;
        case T_AlterDatabaseSetStmt:
            pg::StartAgainAtCommit(get_database_oid(reinterpret_cast<AlterDatabaseSetStmt*>(statement)->dbname, true));
            break;
        case T_AlterRoleSetStmt: {
            const auto* alter = reinterpret_cast<AlterRoleSetStmt*>(statement);
            if (!IsWorkersRole(alter->role)) break;
            pg::StartAgainAtCommit(alter->database != nullptr ? get_database_oid(alter->database, true) : InvalidOid);
            break;
        }
        case T_AlterDatabaseStmt:  // ALLOW_CONNECTIONS
            pg::TellLauncherAtCommit(InvalidOid);
            break;
        case T_TransactionStmt:
            // Callbacks don't say what a prepared transaction had changed.
            if (reinterpret_cast<TransactionStmt*>(statement)->kind == TRANS_STMT_COMMIT_PREPARED) {
                pg::WakeWorker(MyDatabaseId, pg::kEverything & ~pg::kStartAgain);
                pg::TellLauncher(MyDatabaseId);
            }
            break;
        default:
            break;
    }
}

void Hook(PlannedStmt* planned, const char* query, bool read_only_tree, ProcessUtilityContext context,
          ParamListInfo params, QueryEnvironment* environment, DestReceiver* receiver, QueryCompletion* completion) {
    Node* statement = planned->utilityStmt;
    // In a failed transaction no catalog may be looked at, nor will anything but its end be done.
    const bool looks = !IsAbortedTransactionBlockState() && IsTransactionState();
    if (looks && IsA(statement, CreateExtensionStmt))
        CheckBesidePgCron(reinterpret_cast<CreateExtensionStmt*>(statement));
    const Oid alone = looks ? WantedAlone(statement) : InvalidOid;
    // The end of a transaction may free the statement.
    const bool tells = looks &&
                       (!IsA(statement, TransactionStmt) ||
                        reinterpret_cast<TransactionStmt*>(statement)->kind == TRANS_STMT_COMMIT_PREPARED) &&
                       !IsA(statement, CallStmt) && !IsA(statement, DoStmt);
    if (OidIsValid(alone)) pg::BlockDatabase(alone);
    (previous_hook != nullptr ? previous_hook : standard_ProcessUtility)(planned, query, read_only_tree, context,
                                                                         params, environment, receiver, completion);
    if (tells) TellAfter(statement);
}

}  // namespace

void InstallUtilityHook() {
    previous_hook = ProcessUtility_hook;
    ProcessUtility_hook = Hook;
}

}  // namespace pgqueue::worker
