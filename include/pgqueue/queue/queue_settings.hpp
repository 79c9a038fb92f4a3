// A queue's settings, as they are stored in queue.settings, and the rules for changing them.
#pragma once

#include "pgqueue/pg/memory.hpp"
#include "pgqueue/pg/run_as.hpp"

namespace pgqueue::queue {

inline constexpr double kForever = -1;

struct QueueSettings {
    double vt = 30;
    double delay = 0;
    bool fifo = false;
    int64 max_attempts = 0;  // 0: any number
    double backoff = 0;
    double backoff_max = 3600;
    double message_ttl = kForever;
    double archive_retention = kForever;
    const char* dead_letter = nullptr;  // the name of a queue

    bool operator==(const QueueSettings& other) const;
};

// What queue.alter was given; nothing: unchanged.
struct SettingsChange {
    std::optional<double> vt;
    std::optional<double> delay;
    std::optional<bool> fifo;
    std::optional<int64> max_attempts;
    std::optional<double> backoff;
    std::optional<double> backoff_max;
    std::optional<double> message_ttl;
    std::optional<double> archive_retention;
    const char* dead_letter = nullptr;
    pg::Vector<const char*> reset;  // names of settings that go back to their defaults
};

// Raises invalid_parameter_value for a name in `reset` that is none of a setting, or is set at the same time.
QueueSettings Changed(const QueueSettings& settings, const SettingsChange& change);

// Checks settings that are about to be stored, as the role that asked for them: the dead-letter queue exists, is
// another one, leads back to this one by no way, and the role may send to it; a fifo queue has no priorities. `before`:
// what is stored now, which needs no check.
void CheckSettings(const char* queue, const QueueSettings& settings, const QueueSettings* before);

// The stored row, locked. Nothing: there is none. For these three the SPI connection is the extension owner's.
std::optional<QueueSettings> LoadSettings(pg::Spi* spi, const char* queue);
// False: there is a row already.
bool InsertSettings(pg::Spi* spi, const char* queue, const QueueSettings& settings);
void UpdateSettings(pg::Spi* spi, const char* queue, const QueueSettings& settings);

}  // namespace pgqueue::queue
