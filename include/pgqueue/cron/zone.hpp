// Time zones, from the server's own data.
#pragma once

#include "pgqueue/cron/next_after.hpp"
#include "pgqueue/pg/postgres.hpp"

namespace pgqueue::cron {

class ServerZone final : public Zone {
public:
    explicit ServerZone(const pg_tz* zone) : zone_(zone) {}
    std::int32_t OffsetAt(Instant at) const override;
    std::optional<Instant> NextChange(Instant after) const override;

private:
    const pg_tz* zone_;
};

// null: there is no such zone, or one with leap seconds.
const pg_tz* FindZone(const char* name);

}  // namespace pgqueue::cron
