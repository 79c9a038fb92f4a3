// What a random client does with keys, alone or in the midst of a transaction.
#pragma once

#include "session.hpp"

namespace torture {

class KvWork {
public:
    KvWork(Session& session, support::Rng& rng) : session_(session), rng_(rng) {}

    void Step();
    void Burst();  // outside of a transaction, as is
    void BeforeCrash(Calm calm);

private:
    struct Holding {
        std::uint32_t lock;
        std::int64_t token;
    };
    void Count();
    void LockOrUnlock();
    void Acquire(double ttl);
    void ReadOrWrite();
    void Pass();
    std::string PassingKey(const char* kind);

    Session& session_;
    support::Rng& rng_;
    std::vector<Holding> held_, past_;
};

}  // namespace torture
