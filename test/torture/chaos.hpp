// What befalls the workers: killed and cancelled backends, server crashes, maintenance, prepared transactions that
// somebody else ends. Each is a thread of its own and keeps its own journal.
#pragma once

#include "server.hpp"
#include "session.hpp"

#include <memory>

namespace torture {

// Kills, cancels and crashes.
class Chaos {
public:
    // Without a server nobody crashes it.
    Chaos(Shared& shared, Server* server, std::uint64_t seed) : shared_(shared), server_(server), rng_(seed) {}
    void Run();
    Journal& TakeJournal() { return journal_; }
    Tally& Counts() { return tally_; }

private:
    support::Conn& Db();
    int AnyPid();
    int HandlerPid();
    void Terminate(int pid, bool handler);
    void Cancel(int pid);
    void CrashServer();
    bool KillOne();

    Shared& shared_;
    Server* server_;
    support::Rng rng_;
    std::unique_ptr<support::Conn> conn_;
    Journal journal_;
    Tally tally_;
};

// VACUUM and its like, checkpoints, old snapshots; keeps an eye on the backlog.
class Maintenance {
public:
    Maintenance(Shared& shared, std::uint64_t seed) : shared_(shared), rng_(seed) {}
    void Run();
    Journal& TakeJournal() { return journal_; }
    Tally& Counts() { return tally_; }

private:
    struct Snapshot {
        support::Conn conn;
        std::string seen;
        Nanos until;
    };
    void Step(support::Conn& conn);
    void Reorganise(support::Conn& conn, const std::string& what, const std::string& table);
    void Vacuum(support::Conn& conn);
    void VacuumStore(support::Conn& conn);
    void LookAgain();
    std::string Look(support::Conn& conn) const;
    void Count(support::Conn& conn);

    Shared& shared_;
    support::Rng rng_;
    std::unique_ptr<Snapshot> snapshot_;
    Journal journal_;
    Tally tally_;
};

// COMMIT PREPARED and ROLLBACK PREPARED.
class Resolver {
public:
    Resolver(Shared& shared, std::uint64_t seed) : shared_(shared), rng_(seed) {}
    void Run();
    void Finish();  // when all backends have gone: the rest, and those of unknown fate
    Journal& TakeJournal() { return journal_; }
    Tally& Counts() { return tally_; }

private:
    void LookAtDoubts();
    void Resolve(std::uint32_t gid, bool doubtful);

    Shared& shared_;
    support::Rng rng_;
    std::unique_ptr<support::Conn> conn_;
    Nanos next_look_ = 0;
    Journal journal_;
    Tally tally_;
};

}  // namespace torture
