// A line of TAP for each check.
#pragma once

#include <cstdio>
#include <string>

namespace unit {

inline int checks = 0;
inline int failures = 0;

inline bool Ok(bool good, const std::string& name) {
    checks++;
    if (!good) failures++;
    std::printf("%sok %d - %s\n", good ? "" : "not ", checks, name.c_str());
    return good;
}

template <class T>
std::string Text(const T& value) {
    if constexpr (std::is_convertible_v<T, std::string>)
        return value;
    else
        return std::to_string(value);
}

template <class A, class B>
bool Is(const A& got, const B& expected, const std::string& name) {
    const bool good = Ok(Text(got) == Text(expected), name);
    if (!good) std::printf("#      got %s\n# expected %s\n", Text(got).c_str(), Text(expected).c_str());
    return good;
}

// The program's exit status.
inline int Done() {
    std::printf("1..%d\n", checks);
    return failures == 0 ? 0 : 1;
}

}  // namespace unit
