// Jobs as rows of cron.job. Whatever way a row comes in (a function, a plain INSERT or UPDATE, a restore), its trigger
// checks it; row security decides who sees which.
#pragma once

#include "pgqueue/cron/plan.hpp"
#include "pgqueue/pg/memory.hpp"

namespace pgqueue::cron {

inline constexpr const char* kSchemaName = "cron";
inline constexpr const char* kOnceText = "@once";   // the schedule of a job with run_at
inline constexpr double kMaxDelay = 366.0 * 86400;  // seconds: of retry_delay, max_runtime
inline constexpr double kMaxJitter = 86400;
inline constexpr int64 kMaxRetries = 1000;

enum class Overlap { kSkip, kQueue, kAllow };
std::optional<Overlap> OverlapOf(const char* word);
std::optional<CatchUp> CatchUpOf(const char* word);

// Raises invalid_parameter_value: invalid schedule. The arguments beside it, a command and a name, may be what was
// meant.
Schedule ParseSchedule(const char* text, const char* command = nullptr, const char* name = nullptr);

// Whether the current role may do what the named one may.
bool MayActAs(const char* role);
// Raise unless the current role is a member of that role, that role may have jobs run, and may run them in the
// database.
void CheckMember(const char* role);
void CheckRole(const char* role);
void CheckDatabase(const char* database, const char* role);

// What a call changes. Null and nothing: as it is, or the default.
struct JobSettings {
    const char* name = nullptr;
    const char* schedule = nullptr;
    const char* command = nullptr;
    const char* timezone = nullptr;
    const char* overlap = nullptr;
    const char* catch_up = nullptr;
    std::optional<double> max_runtime;
    std::optional<int64> retries;
    std::optional<double> retry_delay;
    std::optional<double> jitter;
    const char* run_as = nullptr;
    const char* database = nullptr;
    std::optional<bool> active;
    std::optional<TimestampTz> run_at;
};

enum class IfThere { kFails, kChanges };
// Adds a job and returns its id; where the role has one of that name, raises duplicate_object or changes that one.
int64 AddJob(const JobSettings& settings, IfThere there);
// Change or remove a job, by its id or its name (of the current role's, or else the only one of that name that it
// sees). Raise undefined_object if there is none.
void ChangeJob(int64 job, const JobSettings& settings);
void ChangeJob(const char* name, const JobSettings& settings);
void RemoveJob(int64 job);
void RemoveJob(const char* name);
// Orders a run beside the schedule, as soon as the transaction commits. Returns the run's id.
int64 RunNow(int64 job);

}  // namespace pgqueue::cron
