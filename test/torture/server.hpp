// The server as a process: what it takes to kill it. Everything runs as the owner of the data directory.
#pragma once

#include <string>
#include <vector>

namespace torture {

class Server {
public:
    // A server that runs already.
    Server(const std::string& datadir, std::string bindir);

    // A new one in DIR/data, reachable through a socket in DIR only; Stop ends it.
    static Server Create(const std::string& dir, const std::string& bindir);
    void Stop();

    std::string ConnInfo() const;  // of one made by Create

    // pg_ctl restart -m immediate, with the options it was started with. False: it didn't work.
    bool Restart();

    // SIGKILL for a backend. False where that process is not a child of this server.
    bool KillBackend(int pid);

private:
    bool Run(std::vector<std::string> command);
    int PostmasterPid() const;

    std::string datadir_, bindir_, user_, socket_, log_;
};

}  // namespace torture
