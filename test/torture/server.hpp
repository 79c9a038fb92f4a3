// The server as a process: what it takes to kill it. Everything runs as the owner of the data directory.
#pragma once

#include "../support/pg.hpp"

#include <string>
#include <vector>

namespace torture {

class Server {
public:
    // A server that runs already.
    Server(const std::string& datadir, std::string bindir);

    // A new one in DIR, reachable through sockets there only; Stop ends it.
    static Server Create(const std::string& dir, const std::string& bindir);
    void Stop();

    std::string ConnInfo() const;  // of one made by Create, wherever it is after a failover

    // pg_ctl restart -m immediate, with the options it was started with. False: it didn't work.
    bool Restart();

    // Only one made by Create can have a standby: a copy of it that follows. What commits from then on is on both.
    bool CanFailOver() const { return !socket_.empty(); }
    bool AddStandby(support::Conn& conn);
    // The server is stopped at once, for good, and the standby takes its place.
    bool FailOver();

    // SIGKILL for a backend. False where that process is not a child of this server.
    bool KillBackend(int pid);

private:
    bool Run(std::vector<std::string> command);
    int PostmasterPid() const;

    int StandbyPort() const;
    std::string StandbyDir() const;

    std::string datadir_, bindir_, user_, socket_, log_;
    int port_ = 0;
};

}  // namespace torture
