#include "tally.hpp"

#include <cinttypes>
#include <cstdio>

namespace torture {

const char* Name(Op op) {
    static constexpr std::array<const char*, static_cast<std::size_t>(Op::kCount)> kNames = {"send",
                                                                                             "send_batch",
                                                                                             "read",
                                                                                             "read + delete",
                                                                                             "pop",
                                                                                             "peek",
                                                                                             "wait",
                                                                                             "delete",
                                                                                             "archive",
                                                                                             "plain DELETE",
                                                                                             "nack",
                                                                                             "set_vt",
                                                                                             "redrive",
                                                                                             "kv.set",
                                                                                             "kv.cas",
                                                                                             "kv.getset",
                                                                                             "kv.take",
                                                                                             "kv.delete",
                                                                                             "kv.get_entry",
                                                                                             "kv.incr",
                                                                                             "kv.get of a counter",
                                                                                             "kv.lock",
                                                                                             "kv.renew",
                                                                                             "kv.unlock",
                                                                                             "kv.assert_lock",
                                                                                             "other keys",
                                                                                             "COMMIT",
                                                                                             "ROLLBACK",
                                                                                             "ROLLBACK TO",
                                                                                             "PREPARE",
                                                                                             "an error on purpose"};
    return kNames[static_cast<std::size_t>(op)];
}

void Tally::Add(const Tally& other) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
        rows[i].calls += other.rows[i].calls;
        rows[i].messages += other.rows[i].messages;
        rows[i].refused += other.rows[i].refused;
        rows[i].failed += other.rows[i].failed;
        rows[i].unanswered += other.rows[i].unanswered;
    }
    for (const auto& [state, count] : other.errors) errors[state] += count;
    for (const auto& [what, count] : other.events) events[what] += count;
}

void Tally::Print() const {
    std::printf("\n  %-20s %10s %10s %10s %10s %10s\n", "operation", "calls", "messages", "refused", "failed",
                "unanswered");
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const Row& row = rows[i];
        std::printf("  %-20s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 "\n",
                    Name(static_cast<Op>(i)), row.calls, row.messages, row.refused, row.failed, row.unanswered);
    }
    const auto line = [](const char* title, const std::map<std::string, std::uint64_t>& counts) {
        if (counts.empty()) return;
        std::printf("\n  %s\n", title);
        for (const auto& [what, count] : counts) std::printf("  %10" PRIu64 "  %s\n", count, what.c_str());
    };
    line("what else happened", events);
    line("errors by SQLSTATE", errors);
}

}  // namespace torture
