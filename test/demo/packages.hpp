// The machine's own package database as messages: every record of dpkg's status file and of apt's lists.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace demo {

struct Record {
    std::string source;   // where it was read
    std::string message;  // a JSON object, a key for each field
    int fields = 0;
    std::int64_t installed_size = 0;  // KiB; 0 where it isn't said
};

struct Packages {
    std::vector<Record> records;
    std::vector<std::string> sources;  // "name: count"
};

// Throws std::runtime_error where there is nothing to read.
Packages ReadPackages();

}  // namespace demo
