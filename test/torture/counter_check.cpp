#include "counter_check.hpp"

#include <algorithm>
#include <map>

namespace torture {

namespace {

std::string Text(const Increment& one) {
    return "+" + std::to_string(one.delta) + " = " + std::to_string(one.sum) + " [" +
           std::to_string(support::ToSeconds(one.req)) + " .. " + std::to_string(support::ToSeconds(one.resp)) + "]";
}

}  // namespace

void CounterCheck::Run() {
    std::sort(k_.increments.begin(), k_.increments.end(),
              [](const Increment* a, const Increment* b) { return a->req < b->req; });
    for (const Increment* one : k_.increments) {
        lost_from_.push_back(LostFrom(*one));
        if (one->sum == 0) {
            ++c_.coverage.increments_unknown;
            continue;
        }
        ++c_.coverage.increments;
        if (c_.fates.Of(one->tx).outcome == Outcome::kRolledBack) ++c_.coverage.increments_undone;
        sights_.push_back({one->sum - one->delta, one->sum, one->req, one->resp});
    }
    for (const CounterLook* look : k_.looks) sights_.push_back({look->value, look->value, look->req, look->resp});
    CheckLosses();
    CheckCeiling();
    CheckRepeats();
    CheckLast();
}

// From when on a crash may have undone the increment: the first crash after it decides, since what it kept is on disk.
Nanos CounterCheck::LostFrom(const Increment& increment) const {
    if (increment.flushed) return kNever;
    for (std::size_t i = 0; i < c_.journal.crashes.size(); ++i) {
        const Crash& crash = c_.journal.crashes[i];
        if (crash.end <= increment.req) continue;
        return c_.fates.Flushed(increment.resp, false, i) ? kNever : crash.req;
    }
    return kNever;
}

// What was answered before somebody asked is in what he saw.
void CounterCheck::CheckLosses() const {
    struct Known {
        Nanos resp;
        std::int64_t sum;  // the highest so far
    };
    std::map<Nanos, std::vector<Known>> by_loss;
    for (std::size_t i = 0; i < k_.increments.size(); ++i)
        if (k_.increments[i]->sum != 0)
            by_loss[lost_from_[i]].push_back({k_.increments[i]->resp, k_.increments[i]->sum});
    for (auto& [lost_from, list] : by_loss) {
        std::sort(list.begin(), list.end(), [](const Known& a, const Known& b) { return a.resp < b.resp; });
        for (std::size_t i = 1; i < list.size(); ++i) list[i].sum = std::max(list[i].sum, list[i - 1].sum);
    }
    for (const Sight& sight : sights_) {
        if (sight.before < k_.start)
            Report(Fault::kCounterLost, std::to_string(sight.before) + " at " +
                                            std::to_string(support::ToSeconds(sight.req)) + ", and it began with " +
                                            std::to_string(k_.start));
        for (const auto& [lost_from, list] : by_loss) {
            if (sight.resp > lost_from) continue;
            const auto end = std::lower_bound(list.begin(), list.end(), sight.req,
                                              [](const Known& known, Nanos at) { return known.resp < at; });
            if (end == list.begin() || std::prev(end)->sum <= sight.before) continue;
            Report(Fault::kCounterLost, std::to_string(sight.before) + " at " +
                                            std::to_string(support::ToSeconds(sight.req)) + ", after " +
                                            std::to_string(std::prev(end)->sum) + " had been answered");
        }
    }
}

// Nobody saw more than had been asked for by then.
void CounterCheck::CheckCeiling() const {
    std::vector<std::int64_t> sums = {k_.start};
    for (const Increment* one : k_.increments) sums.push_back(sums.back() + one->delta);
    for (const Sight& sight : sights_) {
        const auto end = std::lower_bound(k_.increments.begin(), k_.increments.end(), sight.resp,
                                          [](const Increment* one, Nanos at) { return one->req < at; });
        const std::int64_t most = sums[static_cast<std::size_t>(end - k_.increments.begin())];
        if (sight.after > most)
            Report(Fault::kCounterTooHigh, std::to_string(sight.after) + " at " +
                                               std::to_string(support::ToSeconds(sight.resp)) +
                                               ", and all requests until then make " + std::to_string(most));
    }
}

void CounterCheck::CheckRepeats() const {
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < k_.increments.size(); ++i)
        if (k_.increments[i]->sum != 0) order.push_back(i);
    const auto sum_of = [this](std::size_t i) { return k_.increments[i]->sum; };
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return sum_of(a) - k_.increments[a]->delta < sum_of(b) - k_.increments[b]->delta;
    });
    for (std::size_t i = 0; i < order.size(); ++i) {
        const Increment& one = *k_.increments[order[i]];
        for (std::size_t j = i + 1; j < order.size(); ++j) {
            const Increment& other = *k_.increments[order[j]];
            if (other.sum - other.delta >= one.sum) break;
            // The one may have been lost before the other.
            if (other.resp > lost_from_[order[i]] || one.resp > lost_from_[order[j]]) continue;
            Report(Fault::kSumRepeated, Text(one) + " and " + Text(other));
        }
    }
}

void CounterCheck::CheckLast() const {
    std::int64_t least = k_.start, most = k_.start, answered = k_.start;
    for (std::size_t i = 0; i < k_.increments.size(); ++i) {
        const Increment& one = *k_.increments[i];
        most += one.delta;
        if (one.sum != 0) answered += one.delta;
        if (one.sum != 0 && lost_from_[i] == kNever) least += one.delta;
    }
    for (const CounterLook* look : k_.looks) {
        if (!look->last) continue;
        if (least == most) ++c_.coverage.counters_exact;
        if (look->value < answered)
            c_.coverage.increments_taken_back += static_cast<std::uint64_t>(answered - look->value);
        if (look->value < least)
            Report(Fault::kCounterLost,
                   std::to_string(look->value) + " at the end, and " + std::to_string(least) + " must be in it");
    }
}

void CounterCheck::Report(Fault fault, const std::string& what) const {
    c_.violations.push_back({fault, "counter " + std::to_string(number_) + ": " + what});
}

}  // namespace torture
