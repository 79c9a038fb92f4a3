// Declares and begins a SQL-callable function. The explicit export comes first: PostgreSQL 15's macro has none.
#pragma once

#include "pgqueue/pg/postgres.hpp"

#define PGQUEUE_FUNCTION(name)                                                                                         \
    extern "C" {                                                                                                       \
    extern PGDLLEXPORT Datum name(PG_FUNCTION_ARGS);                                                                   \
    PG_FUNCTION_INFO_V1(name);                                                                                         \
    }                                                                                                                  \
    Datum name([[maybe_unused]] PG_FUNCTION_ARGS)
