// Counts for the table at the end.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

namespace torture {

enum class Op : std::uint8_t {
    kSend,
    kSendBatch,
    kRead,
    kReadAndDelete,
    kPop,
    kPeek,
    kWait,
    kDelete,
    kArchive,
    kSqlDelete,
    kNack,
    kSetVt,
    kRedrive,
    kSet,
    kCas,
    kGetSet,
    kTake,
    kKeyDelete,
    kGet,
    kIncr,
    kCounterLook,
    kLock,
    kRenew,
    kUnlock,
    kAssertLock,
    kPassing,
    kCommit,
    kRollback,
    kSavepoint,
    kPrepare,
    kMistake,
    kCount
};

const char* Name(Op op);

struct Tally {
    struct Row {
        std::uint64_t calls = 0, messages = 0, refused = 0, failed = 0, unanswered = 0;
    };
    std::array<Row, static_cast<std::size_t>(Op::kCount)> rows;
    std::map<std::string, std::uint64_t> errors;  // by SQLSTATE
    std::map<std::string, std::uint64_t> events;  // kills, crashes, ...

    Row& Of(Op op) { return rows[static_cast<std::size_t>(op)]; }
    void Add(const Tally& other);
    void Print() const;
};

}  // namespace torture
