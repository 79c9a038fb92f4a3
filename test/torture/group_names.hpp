// The groups of the torture program, by number.
#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

namespace torture {

using GroupNo = std::uint8_t;

constexpr GroupNo kNoGroup = 0;
constexpr GroupNo kHotGroup = 1;  // a good part of the messages
constexpr GroupNo kGroups = 14;
constexpr GroupNo kStrangeGroup = UINT8_MAX;  // none of ours

// One of them, or none: `dice` is a random number.
constexpr GroupNo AnyGroup(std::uint64_t dice) {
    const std::uint64_t of_100 = dice % 100;
    if (of_100 < 12) return kNoGroup;
    if (of_100 < 40) return kHotGroup;
    return static_cast<GroupNo>(1 + dice / 100 % kGroups);
}

// One is as long as a key may be.
inline std::string GroupName(GroupNo group) {
    std::string name = std::to_string(group) + " group";
    if (group == kGroups) name.resize(1024, '-');
    return name;
}

inline GroupNo GroupNumber(std::string_view name) {
    unsigned number = 0;
    std::from_chars(name.data(), name.data() + name.size(), number);
    if (number < 1 || number > kGroups) return kStrangeGroup;
    const auto group = static_cast<GroupNo>(number);
    return name == GroupName(group) ? group : kStrangeGroup;
}

}  // namespace torture
