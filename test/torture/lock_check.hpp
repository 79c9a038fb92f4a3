// The checks of one lock.
//
// - From the arrival of its token a holder has the lock for its ttl since the request, less a margin for the clocks, or
//   until somebody asks for a renewal or unlock with that token. No rollback, kill or crash takes it from him. Nobody
//   else holds it at such a time.
// - Tokens only grow, from holder to holder.
// - A refusal needs somebody who may have held it then. A renewal, unlock or assertion is accepted while the lock
//   certainly holds, and refused when it is certainly over.
#pragma once

#include "message_check.hpp"

namespace torture {

class LockCheck {
public:
    LockCheck(std::uint32_t number, const std::vector<const LockCall*>& calls, Context& context)
        : number_(number), calls_(calls), c_(context) {}
    // `highest`: token of earlier journals; afterwards of this one.
    void Run(std::int64_t& highest);

private:
    // The time in which a grant or renewal certainly held; it may have begun at req.
    struct Hold {
        const LockCall* call;
        Nanos start, end;
    };
    // All that is known of a token.
    struct Token {
        const LockCall* grant = nullptr;
        std::vector<const LockCall*> changes;  // renewals and unlocks that were not refused
        std::vector<Hold> holds;
    };

    void Collect();
    void CheckHolders();
    void CheckTokens(std::int64_t& highest);
    void CheckRefusals();
    void CheckAnswers();
    void CheckAnswer(const LockCall& call, Nanos successor);
    Nanos LastEnd(const Token& token, const LockCall* call) const;
    void Report(Fault fault, const std::string& what);

    std::uint32_t number_;
    const std::vector<const LockCall*>& calls_;
    Context& c_;
    std::unordered_map<std::int64_t, Token> tokens_;
    std::vector<Hold> holds_;  // by start
};

}  // namespace torture
