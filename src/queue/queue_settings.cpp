#include "pgqueue/queue/queue_settings.hpp"

#include "pgqueue/pg/catalog.hpp"
#include "pgqueue/queue/queue.hpp"

namespace pgqueue::queue {
namespace {

bool Same(const char* a, const char* b) { return (a == nullptr) == (b == nullptr) && (!a || strcmp(a, b) == 0); }

// The arguments of a statement that stores settings: $1 is the name.
struct Parameters {
    static constexpr int kCount = 10;
    Oid types[kCount] = {TEXTOID,   FLOAT8OID, FLOAT8OID, BOOLOID,   INT8OID,
                         FLOAT8OID, FLOAT8OID, FLOAT8OID, FLOAT8OID, TEXTOID};
    Datum values[kCount];

    Parameters(const char* queue, const QueueSettings& s)
        : values{CStringGetTextDatum(queue),
                 Float8GetDatum(s.vt),
                 Float8GetDatum(s.delay),
                 BoolGetDatum(s.fifo),
                 Int64GetDatum(s.max_attempts),
                 Float8GetDatum(s.backoff),
                 Float8GetDatum(s.backoff_max),
                 Float8GetDatum(s.message_ttl),
                 Float8GetDatum(s.archive_retention),
                 CStringGetTextDatum(s.dead_letter != nullptr ? s.dead_letter : "")} {}
};

// The dead-letter queue of a queue, or nullptr. The name is the caller's to free.
const char* DeadLetterOf(pg::Spi* spi, const char* queue) {
    Oid types[] = {TEXTOID};
    Datum values[] = {CStringGetTextDatum(queue)};
    if (spi->Run("SELECT dead_letter FROM queue.settings WHERE queue_name = $1 AND dead_letter IS NOT NULL", 1, types,
                 values) == 0)
        return nullptr;
    return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

void CheckDeadLetter(const char* queue, const char* dead_letter) {
    if (strcmp(queue, dead_letter) == 0)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("queue \"%s\" can't be its own dead-letter queue", queue),
                        errhint("Create another one for its dead letters.")));
    Close(Open(dead_letter, ACL_INSERT, AccessShareLock));
    const pg::RunAs as(pg::ExtensionOwner());
    pg::Spi spi;
    constexpr int kLongest = 100;
    const char* next = dead_letter;
    for (int i = 0; i < kLongest && next != nullptr; i++) {
        next = DeadLetterOf(&spi, next);
        if (next != nullptr && strcmp(next, queue) == 0)
            ereport(ERROR,
                    (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                     errmsg("dead letters of queue \"%s\" would come back to it by way of \"%s\"", queue, dead_letter),
                     errhint("The last queue of a chain has no dead-letter queue.")));
    }
}

}  // namespace

bool QueueSettings::operator==(const QueueSettings& other) const {
    return vt == other.vt && delay == other.delay && fifo == other.fifo && max_attempts == other.max_attempts &&
           backoff == other.backoff && backoff_max == other.backoff_max && message_ttl == other.message_ttl &&
           archive_retention == other.archive_retention && Same(dead_letter, other.dead_letter);
}

QueueSettings Changed(const QueueSettings& settings, const SettingsChange& change) {
    QueueSettings changed = settings;
    const QueueSettings defaults;
    for (const char* name : change.reset) {
        bool also_set = false;
        const auto reset = [&](const char* setting, auto QueueSettings::*field, bool given) {
            if (strcmp(name, setting) != 0) return false;
            changed.*field = defaults.*field;
            also_set = given;
            return true;
        };
        if (!reset("vt", &QueueSettings::vt, change.vt.has_value()) &&
            !reset("delay", &QueueSettings::delay, change.delay.has_value()) &&
            !reset("fifo", &QueueSettings::fifo, change.fifo.has_value()) &&
            !reset("max_attempts", &QueueSettings::max_attempts, change.max_attempts.has_value()) &&
            !reset("backoff", &QueueSettings::backoff, change.backoff.has_value()) &&
            !reset("backoff_max", &QueueSettings::backoff_max, change.backoff_max.has_value()) &&
            !reset("message_ttl", &QueueSettings::message_ttl, change.message_ttl.has_value()) &&
            !reset("archive_retention", &QueueSettings::archive_retention, change.archive_retention.has_value()) &&
            !reset("dead_letter", &QueueSettings::dead_letter, change.dead_letter != nullptr))
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unrecognized setting: \"%s\"", name),
                            errhint("reset takes vt, delay, fifo, max_attempts, dead_letter, backoff, backoff_max, "
                                    "message_ttl and archive_retention.")));
        if (also_set)
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                            errmsg("setting \"%s\" is given a value and reset at the same time", name)));
    }
    changed.vt = change.vt.value_or(changed.vt);
    changed.delay = change.delay.value_or(changed.delay);
    changed.fifo = change.fifo.value_or(changed.fifo);
    changed.max_attempts = change.max_attempts.value_or(changed.max_attempts);
    changed.backoff = change.backoff.value_or(changed.backoff);
    changed.backoff_max = change.backoff_max.value_or(changed.backoff_max);
    changed.message_ttl = change.message_ttl.value_or(changed.message_ttl);
    changed.archive_retention = change.archive_retention.value_or(changed.archive_retention);
    if (change.dead_letter != nullptr) changed.dead_letter = change.dead_letter;
    return changed;
}

void CheckSettings(const char* queue, const QueueSettings& settings, const QueueSettings* before) {
    if (settings.dead_letter != nullptr && (before == nullptr || !Same(settings.dead_letter, before->dead_letter)))
        CheckDeadLetter(queue, settings.dead_letter);
    if (settings.fifo && before != nullptr && !before->fifo) {
        const OpenedQueue opened = Open(queue, 0, AccessShareLock);
        const bool prioritized = opened.queue->prioritized;
        Close(opened);
        if (prioritized)
            ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                            errmsg("queue \"%s\" has had messages with a priority", queue),
                            errhint("A fifo queue has none. Create another queue.")));
    }
}

std::optional<QueueSettings> LoadSettings(pg::Spi* spi, const char* queue) {
    Oid types[] = {TEXTOID};
    Datum values[] = {CStringGetTextDatum(queue)};
    if (spi->Run("SELECT vt, delay, fifo, max_attempts, backoff, backoff_max, message_ttl, archive_retention, "
                 "dead_letter FROM queue.settings WHERE queue_name = $1 FOR UPDATE",
                 1, types, values) == 0)
        return std::nullopt;
    HeapTuple row = SPI_tuptable->vals[0];
    const TupleDesc desc = SPI_tuptable->tupdesc;
    bool null = false;
    const auto number = [&](int i) { return DatumGetFloat8(SPI_getbinval(row, desc, i, &null)); };
    QueueSettings settings;
    settings.vt = number(1);
    settings.delay = number(2);
    settings.fifo = DatumGetBool(SPI_getbinval(row, desc, 3, &null));
    settings.max_attempts = DatumGetInt64(SPI_getbinval(row, desc, 4, &null));
    settings.backoff = number(5);
    settings.backoff_max = number(6);
    settings.message_ttl = number(7);
    settings.archive_retention = number(8);
    settings.dead_letter = SPI_getvalue(row, desc, 9);
    return settings;
}

bool InsertSettings(pg::Spi* spi, const char* queue, const QueueSettings& settings) {
    Parameters parameters(queue, settings);
    return spi->Run("INSERT INTO queue.settings (queue_name, vt, delay, fifo, max_attempts, backoff, backoff_max, "
                    "message_ttl, archive_retention, dead_letter) "
                    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, nullif($10, '')) ON CONFLICT DO NOTHING",
                    Parameters::kCount, parameters.types, parameters.values) == 1;
}

void UpdateSettings(pg::Spi* spi, const char* queue, const QueueSettings& settings) {
    Parameters parameters(queue, settings);
    spi->Run("UPDATE queue.settings SET vt = $2, delay = $3, fifo = $4, max_attempts = $5, backoff = $6, "
             "backoff_max = $7, message_ttl = $8, archive_retention = $9, dead_letter = nullif($10, '') "
             "WHERE queue_name = $1",
             Parameters::kCount, parameters.types, parameters.values);
}

}  // namespace pgqueue::queue
