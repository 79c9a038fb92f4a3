#include "pg.hpp"

#include <sys/socket.h>

#include <charconv>

#include "clock.hpp"

namespace support {

std::int64_t Result::Int(int row, int column) const {
    const std::string_view text = Text(row, column);
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (!IsNull(row, column) && (error != std::errc() || end != text.data() + text.size()))
        throw std::runtime_error("not a whole number: " + std::string(text));
    return value;
}

std::string ArrayLiteral(const std::vector<std::int64_t>& values) {
    std::string out = "{";
    for (const std::int64_t value : values) {
        if (out.size() > 1) out += ',';
        out += std::to_string(value);
    }
    return out += '}';
}

std::string ArrayLiteral(const std::vector<std::string>& values) {
    std::size_t size = 2;
    for (const std::string& value : values) size += value.size() + value.size() / 8 + 3;
    std::string out;
    out.reserve(size);
    out += '{';
    for (const std::string& value : values) {
        if (out.size() > 1) out += ',';
        out += '"';
        for (const char c : value) {
            if (c == '"' || c == '\\') out += '\\';
            out += c;
        }
        out += '"';
    }
    return out += '}';
}

std::string QuoteIdentifier(std::string_view name) {
    std::string out = "\"";
    for (const char c : name) {
        if (c == '"') out += '"';
        out += c;
    }
    return out += '"';
}

Conn::Conn(const std::string& conninfo, const std::string& application) : conn_(nullptr, &PQfinish) {
    // expand_dbname lets a whole conninfo string or URI stand in for the database name.
    const char* const keywords[] = {"dbname", "application_name", nullptr};
    const char* const values[] = {conninfo.c_str(), application.c_str(), nullptr};
    conn_.reset(PQconnectdbParams(keywords, values, 1));
    if (conn_ == nullptr || PQstatus(conn_.get()) != CONNECTION_OK)
        throw ConnectionLost(conn_ == nullptr ? "out of memory" : PQerrorMessage(conn_.get()));
    PQsetNoticeProcessor(
        conn_.get(), [](void*, const char*) {}, nullptr);
}

Conn Conn::Within(double seconds, const std::string& conninfo, const std::string& application) {
    const Nanos deadline = Now() + FromSeconds(seconds);
    for (;;) {
        try {
            return Conn(conninfo, application);
        } catch (const ConnectionLost&) {
            if (Now() > deadline) throw;
        }
        Pause(10 * kMillisecond);
    }
}

Result Conn::Checked(PGresult* raw) {
    Result result(raw);
    const ExecStatusType status = PQresultStatus(raw);
    if (raw == nullptr || PQstatus(conn_.get()) != CONNECTION_OK) throw ConnectionLost(PQerrorMessage(conn_.get()));
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY) return result;
    // libpq's own errors have no SQLSTATE: the connection broke, or will be found broken. FATAL ends it.
    const char* state = PQresultErrorField(raw, PG_DIAG_SQLSTATE);
    const char* severity = PQresultErrorField(raw, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (state == nullptr || *state == '\0' || severity == nullptr || std::string_view(severity) != "ERROR")
        throw ConnectionLost(PQresultErrorMessage(raw));
    const char* text = PQresultErrorField(raw, PG_DIAG_MESSAGE_PRIMARY);
    throw SqlError(state, text != nullptr ? text : PQresultErrorMessage(raw));
}

Result Conn::Exec(const std::string& sql) { return Checked(PQexec(conn_.get(), sql.c_str())); }

Result Conn::Query(const std::string& sql, const std::vector<Param>& params) {
    auto found = prepared_.find(sql);
    if (found == prepared_.end()) {
        const std::string name = "s" + std::to_string(prepared_.size());
        Checked(PQprepare(conn_.get(), name.c_str(), sql.c_str(), 0, nullptr));
        found = prepared_.emplace(sql, name).first;
    }
    std::vector<const char*> values;
    values.reserve(params.size());
    for (const Param& param : params) values.push_back(param ? param->c_str() : nullptr);
    return Checked(PQexecPrepared(conn_.get(), found->second.c_str(), static_cast<int>(values.size()), values.data(),
                                  nullptr, nullptr, 0));
}

void Conn::SendOnly(const std::string& sql) {
    if (PQsendQuery(conn_.get(), sql.c_str()) == 0) throw ConnectionLost(PQerrorMessage(conn_.get()));
    PQflush(conn_.get());
}

void Conn::Cut() { shutdown(PQsocket(conn_.get()), SHUT_RDWR); }

}  // namespace support
