#include "pgqueue/kv/key_lock.hpp"

namespace pgqueue::kv {

KeyLock::KeyLock(const Store* store, Namespace space, const Key& key) {
    const uint64 hash = hash_bytes_extended(reinterpret_cast<const unsigned char*>(key.bytes.data()),
                                            static_cast<int>(key.bytes.size()), static_cast<unsigned char>(space));
    tag_.locktag_field1 = MyDatabaseId;
    tag_.locktag_field2 = store->values.table;
    tag_.locktag_field3 = static_cast<uint32>(hash);
    tag_.locktag_field4 = static_cast<uint16>(space);
    tag_.locktag_type = LOCKTAG_USERLOCK;
    tag_.locktag_lockmethodid = USER_LOCKMETHOD;
    (void)LockAcquire(&tag_, ExclusiveLock, false, false);
}

void KeyLock::Release() {
    if (held_) LockRelease(&tag_, ExclusiveLock, false);
    held_ = false;
}

}  // namespace pgqueue::kv
