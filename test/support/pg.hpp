// libpq for test programs: a connection and a result that clean up after themselves, and errors as exceptions.
// A connection belongs to one thread at a time.
#pragma once

#include <libpq-fe.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace support {

// The server answered with an error; the connection is still good.
class SqlError : public std::runtime_error {
public:
    SqlError(std::string state, const std::string& message) : std::runtime_error(message), state_(std::move(state)) {}
    const std::string& State() const { return state_; }

private:
    std::string state_;
};

// The connection is gone (or was never made). What the last statement did is unknown.
class ConnectionLost : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

class Result {
public:
    explicit Result(PGresult* result) : result_(result, &PQclear) {}

    int Rows() const { return PQntuples(result_.get()); }
    bool IsNull(int row, int column) const { return PQgetisnull(result_.get(), row, column) != 0; }
    std::string_view Text(int row, int column) const {
        return {PQgetvalue(result_.get(), row, column),
                static_cast<std::size_t>(PQgetlength(result_.get(), row, column))};
    }
    std::int64_t Int(int row, int column) const;  // NULL is 0
    bool Bool(int row, int column) const { return Text(row, column) == "t"; }
    std::string_view Command() const { return PQcmdStatus(result_.get()); }

private:
    std::unique_ptr<PGresult, decltype(&PQclear)> result_;
};

using Param = std::optional<std::string>;

// '{...}' as the server's array types read it.
std::string ArrayLiteral(const std::vector<std::int64_t>& values);
std::string ArrayLiteral(const std::vector<std::string>& values);

// "name", for use in SQL text.
std::string QuoteIdentifier(std::string_view name);

class Conn {
public:
    // `conninfo` is whatever libpq takes: keywords, a URI, a database name. Throws ConnectionLost.
    Conn(const std::string& conninfo, const std::string& application);

    // Tries again until the server lets us in or `seconds` have passed.
    static Conn Within(double seconds, const std::string& conninfo, const std::string& application);

    // One or more statements without parameters, through the simple protocol.
    Result Exec(const std::string& sql);

    // A statement with parameters, prepared on its first use.
    Result Query(const std::string& sql, const std::vector<Param>& params = {});

    // Sends a statement and doesn't wait for its answer.
    void SendOnly(const std::string& sql);

    // Breaks the TCP or unix socket under the connection, as a client that dies would.
    void Cut();

    // Whether a transaction block is open, be it a failed one.
    bool InTransaction() const { return PQtransactionStatus(conn_.get()) != PQTRANS_IDLE; }

    int Pid() const { return PQbackendPID(conn_.get()); }

private:
    Result Checked(PGresult* result);

    std::unique_ptr<PGconn, decltype(&PQfinish)> conn_;
    std::unordered_map<std::string, std::string> prepared_;
};

}  // namespace support
