#include "pgqueue/cron/zone.hpp"

namespace pgqueue::cron {

std::int32_t ServerZone::OffsetAt(Instant at) const {
    const auto time = static_cast<pg_time_t>(at);
    const pg_tm* local = pg_localtime(&time, zone_);
    return local != nullptr ? static_cast<std::int32_t>(local->tm_gmtoff) : 0;
}

std::optional<Instant> ServerZone::NextChange(Instant after) const {
    const auto time = static_cast<pg_time_t>(after);
    pg_time_t boundary = 0;
    long before_offset = 0;
    long after_offset = 0;
    int before_dst = 0;
    int after_dst = 0;
    if (pg_next_dst_boundary(&time, &before_offset, &before_dst, &boundary, &after_offset, &after_dst, zone_) != 1)
        return std::nullopt;
    return boundary;
}

const pg_tz* FindZone(const char* name) {
    if (strlen(name) > TZ_STRLEN_MAX) return nullptr;
    pg_tz* zone = pg_tzset(name);
    return zone != nullptr && pg_tz_acceptable(zone) ? zone : nullptr;
}

}  // namespace pgqueue::cron
