// What a backend knows about things that users name (queues, stores): entries by name, thrown away by the invalidation
// messages of the relations they were made from.
//
// Entry has `char name[NAMEDATALEN]` first, `bool valid`, `Oid acl_role` (whose privileges it caches) and
// `bool Uses(Oid relation) const`. There is one cache for each kind of entry, and it is never destroyed.
#pragma once

#include "pgqueue/pg/memory.hpp"

namespace pgqueue::pg {

template <class Entry>
class NameCache {
public:
    // The entry of that name, made (and not valid) if there is none. It stays where it is until Forget, or until the
    // transaction ends.
    Entry* Find(const char* name) {
        if (last_ != nullptr && strcmp(last_->name, name) == 0) return last_;
        if (by_name_ == nullptr) CreateTables();
        bool found = false;
        char key[NAMEDATALEN] = {};
        strlcpy(key, name, NAMEDATALEN);
        auto* entry = static_cast<Entry*>(hash_search(by_name_, key, HASH_ENTER, &found));
        if (!found) {
            *entry = Entry{};
            memcpy(entry->name, key, NAMEDATALEN);
        }
        return last_ = entry;
    }
    // The one found last, or nullptr.
    Entry* Last() const { return last_; }

    // Names that don't exist must not fill memory.
    void Forget(Entry* entry) {
        char key[NAMEDATALEN];
        memcpy(key, entry->name, NAMEDATALEN);
        last_ = nullptr;
        hash_search(by_name_, key, HASH_REMOVE, nullptr);
    }

    // A change of the relation makes the entry invalid.
    void DependOn(const Entry* entry, Oid relation) {
        if (!OidIsValid(relation)) return;
        auto* link = static_cast<Link*>(hash_search(by_oid_, &relation, HASH_ENTER, nullptr));
        strlcpy(link->name, entry->name, NAMEDATALEN);
    }

    // Calls `load` until nothing changes while it reads the catalogs; it returns after an invalid entry was filled.
    template <class Load>
    void Validate(Entry* entry, Load load) {
        while (!entry->valid) {
            const uint64 before = invalidations_;
            load(entry);
            entry->valid = invalidations_ == before || Discarding();
        }
    }
    // Whether the entry holds after a lock was taken: the wait for it has processed invalidations.
    static bool Holds(const Entry* entry) { return entry->valid || Discarding(); }

    template <class Use>
    void ForEach(Use use) {
        if (by_name_ == nullptr) return;
        HASH_SEQ_STATUS scan;
        hash_seq_init(&scan, by_name_);
        while (auto* entry = static_cast<Entry*>(hash_seq_search(&scan))) use(entry);
    }

private:
    struct Link {
        Oid relation;
        char name[NAMEDATALEN];
    };
    static constexpr int kMostOutdated = 1000;

    // The server's own debugging aid empties the caches at every look: nothing would ever be found unchanged.
    static bool Discarding() { return debug_discard_caches > 0; }

    void CreateTables() {
        HASHCTL names{};
        names.keysize = NAMEDATALEN;
        names.entrysize = sizeof(Entry);
        names.hcxt = TopMemoryContext;
        HASHCTL oids{};
        oids.keysize = sizeof(Oid);
        oids.entrysize = sizeof(Link);
        oids.hcxt = TopMemoryContext;
        by_oid_ = hash_create("pgqueue relations", 64, &oids, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
        by_name_ = hash_create("pgqueue names", 64, &names, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
        CacheRegisterRelcacheCallback(OnRelcacheInvalidation, PointerGetDatum(this));
        CacheRegisterSyscacheCallback(AUTHOID, OnRoleInvalidation, PointerGetDatum(this));
        CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, OnRoleInvalidation, PointerGetDatum(this));
        RegisterXactCallback(OnTransactionEnd, this);
    }

    static NameCache* From(Datum argument) { return reinterpret_cast<NameCache*>(DatumGetPointer(argument)); }

    void Outdate(Entry* entry) {
        if (entry->valid) outdated_++;
        entry->valid = false;
    }

    static void OnRelcacheInvalidation(Datum argument, Oid relation) {
        NameCache* cache = From(argument);
        cache->invalidations_++;
        if (relation == InvalidOid) {
            cache->ForEach([&](Entry* entry) { cache->Outdate(entry); });
            return;
        }
        const auto* link = static_cast<Link*>(hash_search(cache->by_oid_, &relation, HASH_FIND, nullptr));
        if (link == nullptr) return;
        auto* entry = static_cast<Entry*>(hash_search(cache->by_name_, link->name, HASH_FIND, nullptr));
        if (entry != nullptr) cache->Outdate(entry);
    }

    static void OnRoleInvalidation(Datum argument, int, uint32) {
        From(argument)->ForEach([](Entry* entry) { entry->acl_role = InvalidOid; });
    }

    // Between transactions nobody holds an entry. Those of things that were changed or dropped, and not used since,
    // must not fill memory.
    static void OnTransactionEnd(XactEvent event, void* argument) {
        auto* cache = static_cast<NameCache*>(argument);
        if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE) return;
        if (cache->outdated_ >= kMostOutdated) cache->ForgetOutdated();
    }

    void ForgetOutdated() {
        outdated_ = 0;
        last_ = nullptr;
        ForEach([&](Entry* entry) {
            if (!entry->valid) hash_search(by_name_, entry->name, HASH_REMOVE, nullptr);
        });
        HASH_SEQ_STATUS scan;
        hash_seq_init(&scan, by_oid_);
        while (auto* link = static_cast<Link*>(hash_seq_search(&scan))) {
            const auto* entry = static_cast<Entry*>(hash_search(by_name_, link->name, HASH_FIND, nullptr));
            const Oid relation = link->relation;
            if (entry == nullptr || !entry->Uses(relation)) hash_search(by_oid_, &relation, HASH_REMOVE, nullptr);
        }
    }

    HTAB* by_name_ = nullptr;
    HTAB* by_oid_ = nullptr;  // relation -> name of the entry that was made from it
    Entry* last_ = nullptr;
    uint64 invalidations_ = 0;
    int outdated_ = 0;  // entries that became so since they were last looked through, at least
};

}  // namespace pgqueue::pg
