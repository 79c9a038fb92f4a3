// What Boost.Container calls instead of throwing. See include/pgqueue/pg/memory.hpp.
#include "pgqueue/pg/memory.hpp"

namespace boost::container {

BOOST_NORETURN void throw_bad_alloc() {
    ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
    pg_unreachable();
}

BOOST_NORETURN void throw_out_of_range(const char* what) {
    elog(ERROR, "container index out of range: %s", what);
    pg_unreachable();
}

BOOST_NORETURN void throw_length_error(const char* what) {
    ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("container too long: %s", what)));
    pg_unreachable();
}

BOOST_NORETURN void throw_logic_error(const char* what) {
    elog(ERROR, "container misuse: %s", what);
    pg_unreachable();
}

BOOST_NORETURN void throw_runtime_error(const char* what) {
    elog(ERROR, "container failure: %s", what);
    pg_unreachable();
}

}  // namespace boost::container
