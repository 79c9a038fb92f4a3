// A small generator (splitmix64): the same seed gives the same choices on every machine.
#pragma once

#include <cstdint>

namespace support {

constexpr std::uint64_t Mix(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

class Rng {
public:
    explicit Rng(std::uint64_t seed) : state_(Mix(seed)) {}

    std::uint64_t Next() {
        state_ += 0x9e3779b97f4a7c15;
        return Mix(state_);
    }

    // A whole number in [low, high].
    std::int64_t Between(std::int64_t low, std::int64_t high) {
        return low + static_cast<std::int64_t>(Next() % static_cast<std::uint64_t>(high - low + 1));
    }

    double Fraction() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

    double Uniform(double low, double high) { return low + (high - low) * Fraction(); }

    bool Chance(double probability) { return Fraction() < probability; }

private:
    std::uint64_t state_;
};

}  // namespace support
