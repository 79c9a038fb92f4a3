#include "kv_check.hpp"

#include <map>

#include "counter_check.hpp"
#include "kv_names.hpp"
#include "lock_check.hpp"
#include "value_check.hpp"

namespace torture {

namespace {

void CheckCounters(Context& c, History& history) {
    std::map<std::uint32_t, CounterView> counters;
    for (const Increment& one : c.journal.kv.increments) counters[one.counter].increments.push_back(&one);
    for (const CounterLook& one : c.journal.kv.looks) counters[one.counter].looks.push_back(&one);
    for (auto& [number, counter] : counters) {
        const auto known = history.counters.find(number);
        counter.start = known == history.counters.end() ? 0 : known->second;
        CounterCheck(number, counter, c).Run();
        for (const CounterLook* look : counter.looks)
            if (look->last && number < kLastingCounters) history.counters[number] = look->value;
    }
}

void CheckLocks(Context& c, History& history) {
    std::map<std::uint32_t, std::vector<const LockCall*>> locks;
    for (const LockCall& call : c.journal.kv.lock_calls) locks[call.lock].push_back(&call);
    for (const auto& [number, calls] : locks) LockCheck(number, calls, c).Run(history.tokens[number]);
}

void CheckValues(Context& c, History& history) {
    std::map<std::uint32_t, ValueView> values;
    for (const KeyWrite& write : c.journal.kv.writes) values[write.key].writes.push_back(&write);
    for (const Reading& reading : c.journal.kv.readings) values[reading.key].readings.push_back(&reading);
    for (const auto& [key, value] : values) ValueCheck(key, value, c).Run(history);
}

void CheckTables(Context& c) {
    for (const Audit& audit : c.journal.kv.audits) {
        ++c.coverage.tables_audited;
        const auto report = [&](Fault fault, const std::string& what) {
            c.violations.push_back({fault, audit.table + ": " + what});
        };
        if (audit.rows != audit.keys)
            report(Fault::kKeyTwice,
                   std::to_string(audit.rows) + " rows of " + std::to_string(audit.keys) + " different keys");
        if (audit.doubled != 0)
            report(Fault::kKeyTwice, std::to_string(audit.doubled) + " values beside counters of the same name");
        if (audit.expired != 0)
            report(Fault::kNotPurged, std::to_string(audit.expired) + " rows that have expired are still there");
        if (!audit.index_fault.empty()) report(Fault::kIndexBroken, audit.index_fault);
    }
}

}  // namespace

void CheckKeys(Context& context, History& history) {
    CheckCounters(context, history);
    CheckLocks(context, history);
    CheckValues(context, history);
    CheckTables(context);
}

}  // namespace torture
