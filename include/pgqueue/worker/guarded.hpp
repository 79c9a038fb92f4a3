// One table's trouble, whatever its owner or its disk has made of it, is no other table's.
#pragma once

#include <algorithm>

#include "pgqueue/pg/memory.hpp"

namespace pgqueue::worker {

// Those that couldn't be looked after: each trouble is logged once, until it is over. Lives as long as the process.
class Troubles {
public:
    explicit constexpr Troubles(const char* kind) : kind_(kind) {}

    void Begin(const char* name, const char* why) {
        if (names_ == nullptr)
            names_ = new (MemoryContextAlloc(TopMemoryContext, sizeof(*names_))) pg::TopVector<NameData>();
        if (Find(name) != names_->end()) return;
        NameData trouble;
        namestrcpy(&trouble, name);
        names_->push_back(trouble);
        ereport(LOG, (errmsg("pgqueue: %s \"%s\" can't be looked after: %s", kind_, name, why)));
    }
    void End(const char* name) {
        if (names_ == nullptr) return;
        const auto found = Find(name);
        if (found != names_->end()) names_->erase(found);
    }

private:
    pg::TopVector<NameData>::iterator Find(const char* name) {
        return std::find_if(names_->begin(), names_->end(),
                            [=](const NameData& told) { return strcmp(NameStr(told), name) == 0; });
    }

    const char* kind_;
    pg::TopVector<NameData>* names_ = nullptr;  // made once and never destroyed
};

// Does the work in a subtransaction. False: it raised an error and is undone.
template <typename Work>
bool Guarded(Troubles* troubles, const char* name, Work work) {
    const MemoryContext context = CurrentMemoryContext;
    ResourceOwner owner = CurrentResourceOwner;
    volatile bool good = false;
    BeginInternalSubTransaction(nullptr);
    MemoryContextSwitchTo(context);
    PG_TRY();
    {
        work();
        ReleaseCurrentSubTransaction();
        good = true;
    }
    PG_CATCH();
    {
        MemoryContextSwitchTo(context);
        ErrorData* error = CopyErrorData();
        FlushErrorState();
        RollbackAndReleaseCurrentSubTransaction();
        troubles->Begin(name, error->message);
        FreeErrorData(error);
    }
    PG_END_TRY();
    MemoryContextSwitchTo(context);
    CurrentResourceOwner = owner;
    if (good) troubles->End(name);
    return good;
}

}  // namespace pgqueue::worker
