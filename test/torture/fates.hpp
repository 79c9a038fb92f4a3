// How each transaction ended, and what each crash may have forgotten.
#pragma once

#include "checker.hpp"

namespace torture {

// The end of an operation's transaction, with its savepoints taken into account.
struct Fate {
    TxId root = kNoTx;
    Outcome outcome = Outcome::kUnknown;  // never kFollows
    Nanos end_req = kNever;               // from here on it may have ended
    Nanos end_resp = kNever;              // from here on it certainly has; kNever: nobody knows
};

class Fates {
public:
    Fates(const Journal& journal, std::vector<Violation>& violations);

    const Fate& Of(TxId tx) const { return fates_[tx]; }

    // Whether an in-place change, answered at `resp`, was on disk before that crash.
    bool Flushed(Nanos resp, bool unlogged, std::size_t crash) const {
        return !unlogged && resp < flushed_before_[crash];
    }

private:
    Nanos LossOf(std::size_t conn) const;
    void FindFlushes();

    const Journal& journal_;
    std::vector<Fate> fates_;
    std::vector<Nanos> lost_at_;         // by connection: the earliest thing that may have ended it
    std::vector<Nanos> flushed_before_;  // by crash
};

}  // namespace torture
