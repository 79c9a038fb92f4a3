// What the viewer sees while a lap runs: a panel that is redrawn in place on a terminal, a line a second elsewhere.
#pragma once

#include "lap.hpp"

#include <deque>
#include <string>

namespace demo {

// Colours and shapes, as far as the terminal has them.
class Style {
public:
    Style();
    bool Live() const { return live_; }  // stdout is a terminal that can be redrawn
    std::string Paint(const char* code, const std::string& text) const;
    std::string Bold(const std::string& text) const { return Paint("1", text); }
    std::string Dim(const std::string& text) const { return Paint("2", text); }
    std::string Good(const std::string& text) const { return Paint("32", text); }
    std::string Warm(const std::string& text) const { return Paint("33", text); }
    std::string Bad(const std::string& text) const { return Paint("31", text); }
    std::string Blue(const std::string& text) const { return Paint("36", text); }
    std::string Bar(double share, int width) const;              // a full width, filled in part
    std::string Spark(const std::vector<double>& values) const;  // one column each, the highest is full
    const char* Tick() const { return unicode_ ? "✓" : "ok"; }
    const char* Cross() const { return unicode_ ? "✗" : "x"; }
    const char* Dot() const { return unicode_ ? "●" : "*"; }
    const char* Between() const { return unicode_ ? " · " : ", "; }
    const char* Arrow() const { return unicode_ ? "→" : "->"; }

private:
    bool live_, colour_, unicode_;
};

std::string Thousands(std::uint64_t number);
std::string Duration(support::Nanos nanos);
// Padded on the left to so many columns.
std::string Right(const std::string& text, std::size_t columns);
std::string Left(const std::string& text, std::size_t columns);

class Panel {
public:
    Panel(const Style& style, const Lap& lap, std::string title);
    ~Panel();
    void Draw(bool last = false);

private:
    struct Sample {
        support::Nanos at;
        std::uint64_t sent, done;
    };
    void Look();
    double Rate(std::uint64_t Sample::*what) const;
    std::string Latency() const;
    std::string Workers() const;
    std::vector<std::string> Lines() const;

    const Style& style_;
    const Lap& lap_;
    std::string title_;
    std::deque<Sample> samples_;  // of the last second
    std::vector<double> speeds_;  // processed a second, a column each
    Sample column_{};             // where the current column began
    std::size_t drawn_ = 0;       // lines
    support::Nanos next_line_ = 0;
};

}  // namespace demo
