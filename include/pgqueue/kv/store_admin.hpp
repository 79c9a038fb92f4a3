// Creating, changing and dropping stores.
#pragma once

#include "pgqueue/kv/store.hpp"

namespace pgqueue::kv {

struct StoreSettings {
    bool unlogged = false;
    double default_ttl = 0;  // seconds; 0: none
    int64 max_entries = 0;   // 0: unbounded
};

// False: it was there, with the same settings. Raises duplicate_table where it has others or is somebody else's. Takes
// over tables of its name that belong to the role, with their rows.
bool CreateStore(const char* name, const StoreSettings& settings);
// Changes settings; true if any was changed. An absent one stays as it is.
bool AlterStore(const char* name, std::optional<double> default_ttl, std::optional<int64> max_entries);
// False: there was none.
bool DropStore(const char* name);

// privilege: "read" or "write". As the caller: the server checks.
void GrantOnStore(bool grant, const char* name, const char* role, const char* privilege);

// The stores of this database.
pg::Vector<const char*> StoreNames();

}  // namespace pgqueue::kv
