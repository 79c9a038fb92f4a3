// SQL text run as psql runs it: statement by statement, each in a transaction of its own unless BEGIN says otherwise,
// so that VACUUM and a CALL that commits work. For background workers with a session of their own.
#pragma once

#include "pgqueue/pg/memory.hpp"

namespace pgqueue::pg {

// Runs the statements of `sql` one after the other, outside of any transaction, and appends their command tags with
// row counts to `tags`, separated by "; ". Raises the first error; the caller aborts then. A transaction that the text
// leaves open is an error.
void Execute(const char* sql, StringInfo tags);

}  // namespace pgqueue::pg
