// CLOCK_MONOTONIC in nanoseconds: the only clock by which these programs order events.
#pragma once

#include <cerrno>
#include <cstdint>
#include <ctime>

namespace support {

using Nanos = std::int64_t;

constexpr Nanos kMillisecond = 1'000'000;
constexpr Nanos kSecond = 1'000'000'000;

inline Nanos Now() {
    timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * kSecond + ts.tv_nsec;
}

// A time that has passed already is no pause.
inline void Pause(Nanos duration) {
    if (duration <= 0) return;
    timespec ts{duration / kSecond, duration % kSecond};
    while (nanosleep(&ts, &ts) != 0 && errno == EINTR) {
    }
}

inline Nanos FromSeconds(double seconds) { return static_cast<Nanos>(seconds * 1e9); }
inline double ToSeconds(Nanos nanos) { return static_cast<double>(nanos) / 1e9; }

}  // namespace support
