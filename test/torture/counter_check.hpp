// The checks of one counter.
//
// - An increment counts from before its answer, whatever becomes of its transaction. So no later sum or look is below a
//   sum that was answered before it was asked for, the ranges (sum - delta, sum] of any two are disjoint, and at the
//   end the counter has all that was answered, and at most also what was asked for without an answer.
// - Only under synchronous_commit = off may a crash take increments back, and only such as nothing later has flushed.
#pragma once

#include "message_check.hpp"

namespace torture {

struct CounterView {
    std::int64_t start = 0;  // when the journal begins
    std::vector<const Increment*> increments;
    std::vector<const CounterLook*> looks;
};

class CounterCheck {
public:
    CounterCheck(std::uint32_t number, CounterView& counter, Context& context)
        : number_(number), k_(counter), c_(context) {}
    void Run();

private:
    // Somebody saw the counter: `before` its own increment and after it.
    struct Sight {
        std::int64_t before, after;
        Nanos req, resp;
    };
    Nanos LostFrom(const Increment& increment) const;
    void CheckLosses() const;
    void CheckCeiling() const;
    void CheckRepeats() const;
    void CheckLast() const;
    void Report(Fault fault, const std::string& what) const;

    std::uint32_t number_;
    CounterView& k_;
    Context& c_;
    std::vector<Sight> sights_;
    std::vector<Nanos> lost_from_;  // by increment
};

}  // namespace torture
