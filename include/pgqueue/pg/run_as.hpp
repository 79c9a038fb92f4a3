// SQL from inside a function, under somebody's identity and with nobody's search_path.
#pragma once

#include "pgqueue/pg/postgres.hpp"

namespace pgqueue::pg {

// Switches to `role` with search_path = pg_catalog until the end of the scope; an error's abort switches back by
// itself. `security`: flags such as SECURITY_RESTRICTED_OPERATION, where that role isn't the one that asked.
class RunAs {
public:
    explicit RunAs(Oid role, int security = 0) {
        GetUserIdAndSecContext(&old_role_, &old_context_);
        SetUserIdAndSecContext(role, old_context_ | SECURITY_LOCAL_USERID_CHANGE | security);
        guc_level_ = NewGUCNestLevel();
        Set("search_path", "pg_catalog, pg_temp");
        Set("default_tablespace", "");  // the caller's may be one that only the role may use
    }
    ~RunAs() {
        AtEOXact_GUC(false, guc_level_);
        SetUserIdAndSecContext(old_role_, old_context_);
    }
    RunAs(const RunAs&) = delete;
    RunAs& operator=(const RunAs&) = delete;

private:
    static void Set(const char* name, const char* value) {
        (void)set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
    }

    Oid old_role_ = InvalidOid;
    int old_context_ = 0;
    int guc_level_ = 0;
};

// Commits, with that role's rights for what has been put off until then: deferred triggers are run by the commit, long
// after a RunAs has ended.
inline void CommitAs(Oid role) {
    Oid old_role = InvalidOid;
    int old_context = 0;
    GetUserIdAndSecContext(&old_role, &old_context);
    SetUserIdAndSecContext(role, old_context | SECURITY_LOCAL_USERID_CHANGE);
    CommitTransactionCommand();
    SetUserIdAndSecContext(old_role, old_context);
}

// An SPI connection for the scope.
class Spi {
public:
    Spi() { SPI_connect(); }
    ~Spi() { SPI_finish(); }
    Spi(const Spi&) = delete;
    Spi& operator=(const Spi&) = delete;

    // Runs one statement and returns the number of its rows. Raises what the statement raises.
    uint64 Run(const char* sql, int count = 0, Oid* types = nullptr, Datum* values = nullptr) {
        const int code = SPI_execute_with_args(sql, count, types, values, nullptr, false, 0);
        if (code < 0) elog(ERROR, "SPI: %s", SPI_result_code_string(code));
        return SPI_processed;
    }
};

}  // namespace pgqueue::pg
