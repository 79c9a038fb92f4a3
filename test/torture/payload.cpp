#include "payload.hpp"

#include <charconv>

#include "../support/rng.hpp"

namespace torture {

namespace {

std::int64_t SizeOf(support::Rng& rng) {
    const double dice = rng.Fraction();
    if (dice < 0.10) return 0;
    if (dice < 0.75) return rng.Between(1, 200);
    if (dice < 0.93) return rng.Between(200, 3'000);
    if (dice < 0.9945) return rng.Between(3'000, 20'000);
    if (dice < 0.9995) return rng.Between(20'000, 200'000);
    return rng.Between(500'000, 4'000'000);
}

void AppendData(std::string& out, support::Rng& rng) {
    static constexpr char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const auto size = static_cast<std::size_t>(SizeOf(rng));
    // Repetitive data is compressed and may stay in the row; the other kind has to go out of line when it is long.
    const std::size_t period = rng.Chance(0.4) ? static_cast<std::size_t>(rng.Between(1, 50)) : size;
    const std::size_t start = out.size();
    out.reserve(start + size + 64);
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < size; ++i) {
        if (i >= period) {
            out += out[start + i - period];
            continue;
        }
        if (i % 10 == 0) bits = rng.Next();
        out += kLetters[bits & 63];
        bits >>= 6;
    }
}

std::uint64_t NumberAfter(std::string_view text, std::string_view key) {
    const std::size_t at = text.rfind(key);
    if (at == std::string_view::npos) return 0;
    std::uint64_t value = 0;
    std::from_chars(text.data() + at + key.size(), text.data() + text.size(), value);
    return value;
}

bool IsSignal(std::uint64_t uid) { return support::Mix(uid ^ 0x5167) % 50 == 0; }

}  // namespace

int Kind(std::uint64_t uid) { return static_cast<int>(support::Mix(uid ^ 0x6b1d) % 4); }

// The keys stand in the order, and with the blanks, that jsonb prints.
Payload Render(std::uint64_t uid, std::int64_t priority, bool signals) {
    support::Rng rng(uid);
    Payload payload;
    payload.signal = signals && IsSignal(uid);
    if (payload.signal || rng.Chance(0.25)) payload.headers = R"({"u": )" + std::to_string(uid) + "}";
    if (payload.signal) return payload;
    payload.message = R"({"d": ")";
    AppendData(payload.message, rng);
    payload.message += R"(", "k": )" + std::to_string(Kind(uid)) + R"(, "p": )" + std::to_string(priority) +
                       R"(, "u": )" + std::to_string(uid) + "}";
    return payload;
}

std::uint64_t UidOf(std::string_view message, std::string_view headers) {
    return NumberAfter(message.empty() ? headers : message, R"("u": )");
}

bool Intact(std::uint64_t uid, bool has_message, std::string_view message, bool has_headers, std::string_view headers,
            std::int64_t priority) {
    const Payload expected = Render(uid, priority, !has_message);
    return expected.signal == !has_message && has_headers == !expected.headers.empty() && message == expected.message &&
           headers == expected.headers;
}

}  // namespace torture
