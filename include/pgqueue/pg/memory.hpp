// Boost containers over memory contexts.
//
// A longjmp may skip any destructor here: the memory then goes with its context. So Vector lives at most as long
// as the context that was current when it first grew, and TopVector is for backend-long state only.
#pragma once

#include "pgqueue/pg/postgres.hpp"

namespace pgqueue::pg {

template <class T>
struct CurrentContextAllocator {
    using value_type = T;
    CurrentContextAllocator() = default;
    template <class U>
    CurrentContextAllocator(const CurrentContextAllocator<U>&) {}
    T* allocate(std::size_t n) { return static_cast<T*>(MemoryContextAllocHuge(CurrentMemoryContext, n * sizeof(T))); }
    void deallocate(T* p, std::size_t) { pfree(p); }
    bool operator==(const CurrentContextAllocator&) const { return true; }
};

template <class T>
struct TopContextAllocator {
    using value_type = T;
    TopContextAllocator() = default;
    template <class U>
    TopContextAllocator(const TopContextAllocator<U>&) {}
    T* allocate(std::size_t n) { return static_cast<T*>(MemoryContextAllocHuge(TopMemoryContext, n * sizeof(T))); }
    void deallocate(T* p, std::size_t) { pfree(p); }
    bool operator==(const TopContextAllocator&) const { return true; }
};

template <class T>
using Vector = boost::container::vector<T, CurrentContextAllocator<T>>;
// Room for N inside the object itself.
template <class T, std::size_t N>
using SmallVector = boost::container::small_vector<T, N, CurrentContextAllocator<T>>;
template <class T>
using TopVector = boost::container::vector<T, TopContextAllocator<T>>;

}  // namespace pgqueue::pg
