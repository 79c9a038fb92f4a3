#include "pgqueue/page/key_lock.hpp"

namespace pgqueue::page {

KeyLock::KeyLock(Oid relation, char space, std::string_view name) {
    const uint64 hash = hash_bytes_extended(reinterpret_cast<const unsigned char*>(name.data()),
                                            static_cast<int>(name.size()), static_cast<unsigned char>(space));
    tag_.locktag_field1 = MyDatabaseId;
    tag_.locktag_field2 = relation;
    tag_.locktag_field3 = static_cast<uint32>(hash);
    tag_.locktag_field4 = static_cast<unsigned char>(space);
    tag_.locktag_type = LOCKTAG_USERLOCK;
    tag_.locktag_lockmethodid = USER_LOCKMETHOD;
    (void)LockAcquire(&tag_, ExclusiveLock, false, false);
}

void KeyLock::Release() {
    if (held_) LockRelease(&tag_, ExclusiveLock, false);
    held_ = false;
}

}  // namespace pgqueue::page
