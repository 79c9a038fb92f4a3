// One random client: sends, reads, acks, changes its mind, and is killed now and then.
#pragma once

#include "kv_work.hpp"

namespace torture {

class Worker {
public:
    Worker(Shared& shared, int number, std::uint64_t seed);

    // Until shared.stop; leaves no transaction open.
    void Run();

    Session& Client() { return session_; }

private:
    void Step();
    void Alone();
    void Transaction();
    void Anything();
    void SendSome();
    void ReadSome();
    void AckSome();
    void Stale();
    void Brink();
    void Consume();
    GroupNo GroupFor(std::uint16_t queue);
    std::uint16_t FifoQueue();
    std::uint16_t AnyQueue();
    std::uint16_t QueueToRead();
    std::vector<Lease> Choose(std::vector<Lease>& from, std::size_t most);
    void Keep(std::vector<Lease> leases);
    void Forget();
    bool Crowded() const { return shared_.backlog > kCrowd; }

    static constexpr std::int64_t kCrowd = 4000;

    Shared& shared_;
    Session session_;
    support::Rng rng_;
    KvWork keys_;
    std::vector<Lease> held_;   // leases to be dealt with
    std::vector<Lease> fresh_;  // those of the transaction in progress
    std::vector<Lease> past_;   // old ones, for stale receipts
    std::vector<Lease> sent_;   // ids of our own sends, without receipts
};

}  // namespace torture
