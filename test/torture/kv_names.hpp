// The stores and keys of the torture program.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace torture {

// What is proved lives in the first store. In the others keys come and go: those of the second expire, of the third are
// unlogged, of the fourth are evicted.
constexpr const char* kStore = "torture";
constexpr const char* kExpiringStore = "torture.expiring";
constexpr const char* kUnloggedStore = "torture.unlogged";
constexpr const char* kBoundedStore = "torture.bounded";
constexpr std::array<const char*, 4> kStores = {kStore, kExpiringStore, kUnloggedStore, kBoundedStore};

constexpr std::uint32_t kValues = 12;
constexpr std::uint32_t kLocks = 12;
constexpr std::uint32_t kLastingCounters = 6;  // higher numbers are counters of a moment

// Even ones are changed under synchronous_commit = on, odd ones under off.
constexpr bool IsFlushed(std::uint32_t counter) { return counter % 2 == 0; }

// One is as long as a key may be.
inline std::string ValueName(std::uint32_t key) {
    std::string name = "value " + std::to_string(key);
    if (key == 0) name.resize(1024, '-');
    return name;
}
inline std::string CounterName(std::uint32_t counter) { return "counter " + std::to_string(counter); }
inline std::string LockName(std::uint32_t lock) { return "lock " + std::to_string(lock); }

}  // namespace torture
