// For libFuzzer: any bytes as a schedule; and where they are one, its due times in a zone that the bytes choose too.
#include <cstdlib>
#include <string_view>

#include "pgqueue/cron/next_after.hpp"
#include "pgqueue/cron/plan.hpp"
#include "pgqueue/cron/schedule.hpp"
#include "support/rng.hpp"

using pgqueue::cron::Instant;
using pgqueue::cron::MakePlan;
using pgqueue::cron::NextAfter;
using pgqueue::cron::Plan;
using pgqueue::cron::Schedule;

namespace {

void Require(bool good) {
    if (!good) std::abort();
}

// Two changes a year and of any size, like no real zone's but as regular: between the two, never further than a real
// one from UTC.
class AnyZone final : public pgqueue::cron::Zone {
public:
    explicit AnyZone(std::uint64_t seed) {
        support::Rng rng(seed);
        summer_ = static_cast<std::int32_t>(rng.Between(-14 * 3600, 14 * 3600));
        winter_ = rng.Chance(0.5) ? summer_ - 3600 : static_cast<std::int32_t>(rng.Between(-14 * 3600, 14 * 3600));
    }
    virtual ~AnyZone() = default;

    std::int32_t OffsetAt(Instant at) const override { return Half(at) % 2 == 0 ? summer_ : winter_; }
    std::optional<Instant> NextChange(Instant after) const override { return (Half(after) + 1) * kHalf; }

private:
    static constexpr std::int64_t kHalf = 15778476;
    static std::int64_t Half(Instant at) { return at >= 0 ? at / kHalf : (at + 1) / kHalf - 1; }

    std::int32_t summer_;
    std::int32_t winter_;
};

void DueTimes(const Schedule& schedule, const AnyZone& zone, Instant start) {
    Instant at = start;
    for (int i = 0; i < 20; i++) {
        const auto next = NextAfter(schedule, zone, at);
        if (!next) return;
        Require(*next > at);
        // The same from any instant in between.
        if (schedule.kind == pgqueue::cron::Kind::kFields) {
            Require(NextAfter(schedule, zone, at + (*next - at) / 2) == next);
            Require(NextAfter(schedule, zone, *next - 1) == next);
        }
        at = *next;
    }
    const Plan plan = MakePlan(schedule, zone, {pgqueue::cron::CatchUp::kAll, 5, 60}, start, at);
    Require(plan.count >= 5 && plan.last_due == at && plan.count + plan.skipped == 20);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    Schedule schedule;
    pgqueue::cron::ParseError error;
    (void)pgqueue::cron::LooksLikeSchedule(text);
    if (!pgqueue::cron::Parse(text, &schedule, &error)) {
        Require(error.reason != nullptr && error.token.size() <= size);
        Require(error.token.empty() ||
                (error.token.data() >= text.data() && error.token.data() + error.token.size() <= text.data() + size));
        return 0;
    }
    Require(pgqueue::cron::LooksLikeSchedule(text));
    std::uint64_t seed = size;
    for (const char c : text) seed = support::Mix(seed ^ static_cast<unsigned char>(c));
    support::Rng rng(seed);
    const AnyZone zone(rng.Next());
    DueTimes(schedule, zone, rng.Between(-4000000000, 8000000000));
    return 0;
}
