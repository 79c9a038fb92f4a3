#include "packages.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string_view>

namespace demo {

namespace {

// The length of the UTF-8 sequence at `at`; 0: it isn't one.
std::size_t SequenceAt(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(at);
    const std::size_t length = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (length == 1) return 1;
    if (lead < 0xc2 || lead > 0xf4 || at + length > text.size()) return 0;
    for (std::size_t i = 1; i < length; ++i)
        if ((byte(at + i) & 0xc0) != 0x80) return 0;
    // Overlong forms, surrogates and what lies beyond Unicode.
    const unsigned char second = byte(at + 1);
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) || (lead == 0xf0 && second < 0x90) ||
        (lead == 0xf4 && second > 0x8f))
        return 0;
    return length;
}

void AppendString(std::string& out, std::string_view text) {
    out += '"';
    for (std::size_t i = 0; i < text.size();) {
        const char c = text[i];
        const std::size_t length = SequenceAt(text, i);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (c == '\n') {
            out += "\\n";
        } else if (c == '\0' || length == 0) {
            out += "\xef\xbf\xbd";  // the replacement character
        } else if (static_cast<unsigned char>(c) < 0x20) {
            std::array<char, 8> escape{};
            std::snprintf(escape.data(), escape.size(), "\\u%04x", c);
            out += escape.data();
        } else {
            out += text.substr(i, length);
        }
        i += length == 0 ? 1 : length;
    }
    out += '"';
}

std::string_view Trim(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) text.remove_suffix(1);
    return text;
}

// Paragraphs of "Name: value" lines, continued on lines that begin with a blank, and parted by empty lines.
class Parser {
public:
    Parser(std::string source, std::vector<Record>& out) : source_(std::move(source)), out_(out) {}

    void Line(std::string_view line) {
        if (Trim(line).empty()) {
            EndRecord();
        } else if (line.front() == ' ' || line.front() == '\t') {
            if (name_.empty()) return;
            value_ += '\n';
            value_ += Trim(line);
        } else {
            EndField();
            const std::size_t colon = line.find(':');
            if (colon == std::string_view::npos) return;
            name_ = Trim(line.substr(0, colon));
            value_ = Trim(line.substr(colon + 1));
        }
    }

    void EndRecord() {
        EndField();
        if (record_.fields > 0) {
            record_.source = source_;
            record_.message += '}';
            out_.push_back(std::move(record_));
        }
        record_ = {};
    }

private:
    void EndField() {
        if (name_.empty()) return;
        record_.message += record_.message.empty() ? '{' : ',';
        AppendString(record_.message, name_);
        record_.message += ':';
        AppendString(record_.message, value_);
        ++record_.fields;
        if (name_ == "Installed-Size")
            std::from_chars(value_.data(), value_.data() + value_.size(), record_.installed_size);
        name_.clear();
        value_.clear();
    }

    std::string source_;
    std::vector<Record>& out_;
    Record record_;
    std::string name_, value_;
};

void ParseStream(std::istream& in, const std::string& source, std::vector<Record>& out) {
    Parser parser(source, out);
    std::string line;
    while (std::getline(in, line)) parser.Line(line);
    parser.EndRecord();
}

void ParseCommand(const char* command, const std::string& source, std::vector<Record>& out) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(popen(command, "re"), &pclose);
    if (!pipe) return;
    Parser parser(source, out);
    std::string pending;
    std::array<char, 65536> buffer{};
    std::size_t got = 0;
    while ((got = std::fread(buffer.data(), 1, buffer.size(), pipe.get())) > 0) {
        pending.append(buffer.data(), got);
        std::size_t from = 0;
        for (std::size_t end = 0; (end = pending.find('\n', from)) != std::string::npos; from = end + 1)
            parser.Line(std::string_view(pending).substr(from, end - from));
        pending.erase(0, from);
    }
    parser.Line(pending);
    parser.EndRecord();
}

}  // namespace

Packages ReadPackages() {
    Packages packages;
    std::size_t before = 0;
    const auto note = [&](const std::string& name) {
        if (packages.records.size() > before)
            packages.sources.push_back(name + ": " + std::to_string(packages.records.size() - before));
        before = packages.records.size();
    };

    std::ifstream status("/var/lib/dpkg/status");
    if (status) ParseStream(status, "dpkg", packages.records);
    note("dpkg/status");

    // The lists as they lie there, or, where apt keeps them compressed, as apt reads them.
    std::error_code error;
    std::vector<std::filesystem::path> lists;
    bool compressed = false;
    for (const auto& entry : std::filesystem::directory_iterator("/var/lib/apt/lists", error)) {
        const std::string name = entry.path().filename().string();
        if (name.size() > 9 && name.compare(name.size() - 9, 9, "_Packages") == 0)
            lists.push_back(entry.path());
        else
            compressed = compressed || name.find("_Packages.") != std::string::npos;
    }
    std::sort(lists.begin(), lists.end());
    if (compressed || lists.empty()) {
        ParseCommand("apt-cache dumpavail 2>/dev/null", "apt", packages.records);
    } else {
        for (const auto& path : lists) {
            std::ifstream list(path);
            ParseStream(list, "apt", packages.records);
        }
    }
    note("apt lists");

    if (packages.records.empty())
        throw std::runtime_error("no package records on this machine: neither /var/lib/dpkg/status nor apt lists");
    return packages;
}

}  // namespace demo
