// Messages that prove themselves: everything in them follows from a unique number, so a reader can write the message
// again and compare every byte. Sizes go from nothing at all to some megabytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace torture {

struct Payload {
    bool signal;          // message is NULL, the number is only in the headers
    std::string message;  // as the server prints jsonb
    std::string headers;  // empty: none
};

// `signals` allows messages that are NULL (a batch has none).
Payload Render(std::uint64_t uid, std::int64_t priority, bool signals);

// The value of the key "k" of a message, for filters: 0 to 3.
int Kind(std::uint64_t uid);

// The unique number in a row; 0 where it can't be made out.
std::uint64_t UidOf(std::string_view message, std::string_view headers);

// Whether the row is, byte for byte, what was sent under its number.
bool Intact(std::uint64_t uid, bool has_message, std::string_view message, bool has_headers, std::string_view headers,
            std::int64_t priority);

}  // namespace torture
