# pgqueue. `make help` lists what there is to make.

EXTENSION = pgqueue
MODULE_big = pgqueue

# The table of contents: every object of the library, one per line, in alphabetical order.
OBJS = \
	src/cron/clock.o \
	src/cron/history.o \
	src/cron/job_run.o \
	src/cron/job_triggers.o \
	src/cron/jobs.o \
	src/cron/month_days.o \
	src/cron/next_after.o \
	src/cron/plan.o \
	src/cron/run_slots.o \
	src/cron/schedule.o \
	src/cron/scheduler.o \
	src/cron/zone.o \
	src/kv/cells.o \
	src/kv/clear.o \
	src/kv/evict.o \
	src/kv/find.o \
	src/kv/kv_row.o \
	src/kv/kv_triggers.o \
	src/kv/lock.o \
	src/kv/purge.o \
	src/kv/rate_limit.o \
	src/kv/scan.o \
	src/kv/store.o \
	src/kv/store_admin.o \
	src/kv/store_stats.o \
	src/kv/streams.o \
	src/kv/values.o \
	src/page/durability.o \
	src/page/groups.o \
	src/page/index_append.o \
	src/page/inplace.o \
	src/page/key_lock.o \
	src/page/map_tail.o \
	src/page/map_waiters.o \
	src/page/page_map.o \
	src/page/places.o \
	src/page/released_leases.o \
	src/page/serials.o \
	src/page/transaction.o \
	src/page/visibility.o \
	src/pg/catalog.o \
	src/pg/execute.o \
	src/pg/heap_row.o \
	src/pg/memory.o \
	src/pg/progress.o \
	src/pg/role.o \
	src/pg/worker_process.o \
	src/pg/worker_table.o \
	src/pgqueue.o \
	src/queue/ack.o \
	src/queue/admin.o \
	src/queue/archive_parts.o \
	src/queue/attachments.o \
	src/queue/binding_trie.o \
	src/queue/dead_letters.o \
	src/queue/dedup.o \
	src/queue/expire.o \
	src/queue/failures.o \
	src/queue/figures.o \
	src/queue/grouping.o \
	src/queue/handler_process.o \
	src/queue/handler_slots.o \
	src/queue/message_values.o \
	src/queue/numbers.o \
	src/queue/queue.o \
	src/queue/queue_settings.o \
	src/queue/read.o \
	src/queue/redrive.o \
	src/queue/row_state.o \
	src/queue/segment_pages.o \
	src/queue/segments.o \
	src/queue/send.o \
	src/queue/table_writer.o \
	src/queue/topics.o \
	src/queue/triggers.o \
	src/queue/wait.o \
	src/queue/watcher.o \
	src/queue/whole_tables.o \
	src/settings.o \
	src/sql/args.o \
	src/sql/cron_functions.o \
	src/sql/handler_functions.o \
	src/sql/kv_args.o \
	src/sql/kv_cell_functions.o \
	src/sql/kv_functions.o \
	src/sql/metrics_functions.o \
	src/sql/queue_functions.o \
	src/sql/retry_functions.o \
	src/sql/topic_functions.o \
	src/sql/worker_functions.o \
	src/worker/database_worker.o \
	src/worker/dedup_task.o \
	src/worker/launcher.o \
	src/worker/purge_task.o \
	src/worker/queue_task.o \
	src/worker/segment_task.o \
	src/worker/utility_hook.o

# Sources that need no server header. Each program in test/unit is linked with them.
UNIT_SRCS = \
	src/cron/month_days.cpp \
	src/cron/next_after.cpp \
	src/cron/plan.cpp \
	src/cron/schedule.cpp

# The choice of server: PG_CONFIG=/path/to/pg_config, or PG_VERSION=NN for Debian's, or what is there.
ifneq ($(PG_VERSION),)
PG_CONFIG = /usr/lib/postgresql/$(PG_VERSION)/bin/pg_config
else ifeq ($(origin PG_CONFIG),undefined)
PG_CONFIG = pg_config
endif

DATA = $(wildcard sql/pgqueue--*.sql)

# make installcheck: against a server that runs and has the library preloaded. make test needs none.
REGRESS = $(patsubst sql/%.sql,%,$(filter-out $(DATA),$(wildcard sql/*.sql)))
ISOLATION = $(patsubst test/isolation/specs/%.spec,%,$(wildcard test/isolation/specs/*.spec))
ISOLATION_OPTS = --inputdir=test/isolation --outputdir=build/installcheck-isolation
REGRESS_OPTS = --outputdir=build/installcheck
PROVE_TESTS = $(wildcard test/t/*.pl)
TAP_TESTS = $(if $(PROVE_TESTS),1)

STD = -std=c++20
WARN = -Wall -Wextra -Wno-unused-parameter
ifdef WERROR
WARN += -Werror
endif

# EXTRA_CPPFLAGS, EXTRA_CXXFLAGS and EXTRA_LDFLAGS are for packagers, who set them in the environment.
# The server's headers count as system headers: their warnings are not ours.
# 15 leaves PGDLLEXPORT empty, which would hide what has to be found.
PG_CPPFLAGS = -Iinclude -isystem $(includedir_server) '-DPGDLLEXPORT=__attribute__((visibility("default")))' \
	$(EXTRA_CPPFLAGS)
PG_CXXFLAGS = $(STD) -fno-exceptions -fno-rtti -fvisibility=hidden -fno-plt -O2 -g $(WARN) -MMD -MP $(EXTRA_CXXFLAGS)
ifdef ASSERT
PG_CPPFLAGS += -DUSE_ASSERT_CHECKING
endif
ifdef UBSAN
PG_CXXFLAGS += -fsanitize=undefined -fno-sanitize-recover=undefined
endif
SHLIB_LINK = -Wl,--version-script=exports.map $(EXTRA_LDFLAGS)

# No bitcode: nobody inlines a function of ours into a JIT-compiled expression.
override with_llvm = no

EXTRA_CLEAN = build $(OBJS:.o=.d)

# The first target, since PGXS comes only after the programs below.
all:

# Without a server's development files (a bare machine before `make deps`) only the targets that run scripts are there.
# pgxs.mk alone doesn't tell: Debian 12 has it in the client's package.
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(and $(wildcard $(PGXS)),$(wildcard $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)/postgres.h)),)
include $(PGXS)

# Link with the C++ driver.
COMPILER = $(CXX) $(CXXFLAGS)

# Objects depend on the headers they included, and on the flags and the server they were built with.
-include $(OBJS:.o=.d)
BUILD_FLAGS := $(VERSION) $(CXX) $(CXXFLAGS) $(CPPFLAGS)
build/flags: FORCE
	$(shell mkdir -p $(@D))$(file >$@.new,$(BUILD_FLAGS))
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(OBJS): build/flags
$(MODULE_big).so: exports.map

# For tools that compile on their own (clang-tidy, a language server).
print-flags:
	@$(info $(CPPFLAGS) $(filter-out -MMD -MP,$(PG_CXXFLAGS))):
print-client-flags:
	@$(info $(CLIENT_CXXFLAGS)):
else
NEED_SERVER = all install installdirs uninstall installcheck clean print-flags print-client-flags
.PHONY: $(NEED_SERVER)
$(NEED_SERVER):
	@echo "no development files found by '$(PG_CONFIG)': run 'make deps', or set PG_VERSION or PG_CONFIG" >&2; exit 1
endif

# What a user starts: see the scripts, each of which says what it does. They fetch what is missing and build first.
ifneq ($(origin PG_CONFIG),file)
export PG_CONFIG
endif
export PG_VERSION ASSERT UBSAN WERROR TESTS JOBS PARTS CASES RECIPES CLIENTS

CHECKS = check-regress check-isolation check-tap check-unit check-fuzz check-differential check-examples check-clients \
	check-recipes check-reference check-torture
.PHONY: FORCE help print-flags print-client-flags deps deps-examples deps-drivers deps-clients deps-recipes \
	deps-differential deps-roots demo stop test checked test-all check-package torture fuzz bench lint $(CHECKS)

help:
	@sed -n 's/^#: //p' Makefile

#: make [PG_VERSION=NN | PG_CONFIG=path]  build the extension; make install puts it on the machine
#: make deps       install the Debian packages that are missing
#: make deps-clients   the same for the examples in Go and Java, 300 to 700 MB each; make test does without
#: make demo       a server of its own, real messages through it; make stop ends it
#: make test       every test, on servers of their own; the parts are check-regress, check-isolation, check-tap,
#:                 check-unit, check-fuzz, check-differential (CASES=100000), check-examples, check-clients,
#:                 check-recipes, check-reference and check-torture
#: make test-all   the same on every supported version, in Debian roots
#: make check-package   build the Debian package and try it in roots of their own, SUITES="bookworm trixie forky"
#: make checked    the same with assertions and UBSan
#: make torture    a long torture run, SECONDS=600
#: make fuzz       a long run of the fuzzers, SECONDS=600
#: make bench      measure beside other queues, ARGS=--quick
#: make lint       the gates: warnings, format, clang-tidy, symbols
deps:
	@test/run/deps core

deps-examples: deps
	@test/run/deps examples

demo test: deps
	@test/run/$@

deps-differential: deps
	@test/run/deps differential

test test-all check-examples: deps-examples

deps-drivers: deps-examples
	@test/run/deps clients

test test-all check-clients: deps-drivers

# Go and the JDK, which are large. Where they are, the tests use them.
deps-clients: deps-drivers
	@test/run/deps toolchains

deps-recipes: deps
	@test/run/deps recipes

test test-all check-recipes: deps-recipes

test test-all check-differential: deps-differential

stop:
	@test/run/stop

$(CHECKS): check-%: deps
	@test/run/$*

torture: deps
	@TORTURE_SECONDS=$(or $(SECONDS),600) test/run/torture

fuzz: deps
	@FUZZ_SECONDS=$(or $(SECONDS),600) test/run/fuzz

checked: deps
	@test/run/checked

deps-roots:
	@test/run/deps roots

test-all: deps deps-roots
	@test/run/test-all here trixie forky

check-package: deps deps-roots
	@test/run/package $(or $(SUITES),bookworm trixie forky)

bench: deps
	@test/run/deps bench
	@test/run/bench $(ARGS)

lint: deps
	@test/run/deps lint
	@test/run/lint

# Clients and unit programs: plain C++ with libpq.
CLIENT_CXXFLAGS = $(STD) -O2 -g -pthread $(WARN) -Iinclude -Itest -I$(shell $(PG_CONFIG) --includedir 2>/dev/null)

CLIENT_OBJS = $(patsubst %.cpp,build/obj/%.o,$(wildcard test/$(1)/*.cpp test/support/*.cpp))

build/demo: $(call CLIENT_OBJS,demo)
build/torture: $(call CLIENT_OBJS,torture)
build/demo build/torture:
	$(CXX) -pthread -o $@ $^ -lpq

build/obj/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(CLIENT_CXXFLAGS) -MMD -MP -c -o $@ $<

-include $(wildcard build/obj/test/*/*.d)

build/unit/%: test/unit/%.cpp $(UNIT_SRCS) $(wildcard include/pgqueue/*/*.hpp test/unit/*.hpp test/support/*.hpp)
	@mkdir -p $(@D)
	$(CXX) $(CLIENT_CXXFLAGS) -o $@ $(filter %.cpp,$^)

build/differential: test/differential/driver.cpp $(UNIT_SRCS) $(wildcard include/pgqueue/*/*.hpp test/support/*.hpp)
	@mkdir -p $(@D)
	$(CXX) $(CLIENT_CXXFLAGS) -o $@ $(filter %.cpp,$^)

# With clang, whose libFuzzer brings the main function.
FUZZ_CXX = clang++
FUZZ_FLAGS = $(STD) -O1 -g $(WARN) -Iinclude -Itest -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined

build/fuzz/%: test/fuzz/%.cpp $(UNIT_SRCS) $(wildcard include/pgqueue/*/*.hpp test/support/*.hpp)
	@mkdir -p $(@D)
	$(FUZZ_CXX) $(FUZZ_FLAGS) -o $@ $(filter %.cpp,$^)

FORCE:
