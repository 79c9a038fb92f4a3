#include "server.hpp"

#include "../support/clock.hpp"

#include <fcntl.h>
#include <pwd.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <stdexcept>

namespace torture {

namespace {

constexpr int kPorts[] = {55477, 55478};  // only the names of sockets; of the server and its standby, in turn

std::string OwnerOf(const std::string& path) {
    struct stat info {};
    if (stat(path.c_str(), &info) != 0) throw std::runtime_error("no such directory: " + path);
    if (geteuid() != 0) return "";
    if (info.st_uid == 0)
        throw std::runtime_error("the server can't run as root, who owns " + path + ": give it to another user");
    const passwd* entry = getpwuid(info.st_uid);
    if (entry == nullptr) throw std::runtime_error("the owner of " + path + " has no name");
    return entry->pw_name;
}

std::string Absolute(const std::string& path) {
    if (!path.empty() && path.front() == '/') return path;
    char buffer[4096];
    if (getcwd(buffer, sizeof buffer) == nullptr) throw std::runtime_error("no current directory");
    return std::string(buffer) + "/" + path;
}

}  // namespace

Server::Server(const std::string& datadir, std::string bindir)
    : datadir_(Absolute(datadir)), bindir_(std::move(bindir)), user_(OwnerOf(datadir_)),
      log_(datadir_ + "/torture-server.log") {}

Server Server::Create(const std::string& dir, const std::string& bindir) {
    Server server(dir, bindir);
    server.socket_ = Absolute(dir);
    server.datadir_ = server.socket_ + "/data";
    server.log_ = server.socket_ + "/server.log";
    server.port_ = kPorts[0];
    if (!server.Run({bindir + "/initdb", "-D", server.datadir_, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                     "--locale=C.UTF-8"}))
        throw std::runtime_error("initdb failed: see " + server.log_);
    // Small buffers and frequent checkpoints: more torn pages, more replay. Small segments: queues change tables often.
    const std::string settings = "listen_addresses = ''\n"
                                 "unix_socket_directories = '" +
                                 server.socket_ +
                                 "'\n"
                                 "port = " +
                                 std::to_string(kPorts[0]) +
                                 "\n"
                                 "shared_preload_libraries = 'pgqueue'\n"
                                 "max_connections = 60\n"
                                 "max_worker_processes = 16\n"
                                 "max_prepared_transactions = 20\n"
                                 "shared_buffers = 32MB\n"
                                 "wal_keep_size = 512MB\n"
                                 "pgqueue.segment_size = 128kB\n"
                                 "checkpoint_timeout = 30s\n"
                                 "deadlock_timeout = 200ms\n"
                                 "log_min_messages = warning\n"
                                 "log_error_verbosity = verbose\n"
                                 "log_line_prefix = '%m [%p] %a '\n";
    if (!server.Run({"/bin/sh", "-c", "cat >>\"$0\" <<'SETTINGS'\n" + settings + "SETTINGS\n",
                     server.datadir_ + "/postgresql.conf"}) ||
        !server.Run({bindir + "/pg_ctl", "-D", server.datadir_, "-l", server.log_, "-w", "-t", "120", "start"}))
        throw std::runtime_error("the server did not start: see " + server.log_);
    return server;
}

std::string Server::ConnInfo() const {
    return "host=" + socket_ + "," + socket_ + " port=" + std::to_string(kPorts[0]) + "," + std::to_string(kPorts[1]) +
           " user=postgres dbname=postgres target_session_attrs=read-write";
}

void Server::Stop() { Run({bindir_ + "/pg_ctl", "-D", datadir_, "-w", "-t", "120", "-m", "fast", "stop"}); }

bool Server::Restart() {
    return Run({bindir_ + "/pg_ctl", "-D", datadir_, "-l", log_, "-w", "-t", "180", "-m", "immediate", "restart"});
}

int Server::StandbyPort() const { return port_ == kPorts[0] ? kPorts[1] : kPorts[0]; }

std::string Server::StandbyDir() const { return socket_ + "/data" + std::to_string(StandbyPort()); }

bool Server::AddStandby(support::Conn& conn) {
    const std::string dir = StandbyDir();
    const std::string primary =
        "host=" + socket_ + " port=" + std::to_string(port_) + " user=postgres application_name=standby";
    if (!Run({"rm", "-rf", dir}) ||
        !Run({bindir_ + "/pg_basebackup", "-D", dir, "-d", primary, "-R", "-c", "fast", "--no-sync"}) ||
        !Run({"/bin/sh", "-c", "echo \"port = $1\" >>\"$0\"/postgresql.conf", dir, std::to_string(StandbyPort())}) ||
        !Run({bindir_ + "/pg_ctl", "-D", dir, "-l", log_, "-w", "-t", "120", "start"}))
        return false;
    conn.Exec("ALTER SYSTEM SET synchronous_standby_names = 'standby'");
    conn.Exec("SELECT pg_reload_conf()");
    const std::string before(conn.Exec("SELECT pg_current_wal_insert_lsn()").Text(0, 0));
    const support::Nanos deadline = support::Now() + 60 * support::kSecond;
    while (support::Now() < deadline) {
        if (conn.Query("SELECT FROM pg_stat_replication WHERE sync_state = 'sync' AND flush_lsn >= $1", {before})
                .Rows() > 0)
            return true;
        support::Pause(5 * support::kMillisecond);
    }
    return false;
}

bool Server::FailOver() {
    if (!Run({bindir_ + "/pg_ctl", "-D", datadir_, "-w", "-t", "120", "-m", "immediate", "stop"})) return false;
    const std::string old = datadir_;
    datadir_ = StandbyDir();
    port_ = StandbyPort();
    return Run({bindir_ + "/pg_ctl", "-D", datadir_, "-w", "-t", "120", "promote"}) && Run({"rm", "-rf", old});
}

bool Server::Run(std::vector<std::string> command) {
    if (!user_.empty()) command.insert(command.begin(), {"runuser", "-u", user_, "--"});
    std::vector<char*> argv;
    argv.reserve(command.size() + 1);
    for (std::string& word : command) argv.push_back(word.data());
    argv.push_back(nullptr);

    // The log belongs to the server's user, who may not be us: so the shell appends to it, not we.
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t child = 0;
    const int error = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) return false;
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return false;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int Server::PostmasterPid() const {
    std::ifstream file(datadir_ + "/postmaster.pid");
    int pid = 0;
    file >> pid;
    return pid;
}

bool Server::KillBackend(int pid) {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string line;
    std::getline(stat, line);
    // "pid (name) state parent ...", and the name may hold anything.
    const std::size_t close = line.rfind(')');
    if (close == std::string::npos || close + 4 >= line.size()) return false;
    const int parent = std::stoi(line.substr(close + 4));
    const int postmaster = PostmasterPid();
    if (postmaster <= 1 || parent != postmaster) return false;
    return kill(pid, SIGKILL) == 0;
}

}  // namespace torture
