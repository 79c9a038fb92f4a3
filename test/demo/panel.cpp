#include "panel.hpp"

#include <langinfo.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace demo {

using support::Nanos;
using support::Now;

namespace {

constexpr int kColumns = 60;  // of the speed curve
constexpr Nanos kColumn = support::kSecond / 4;

std::string Format(const char* format, double value) {
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), format, value);
    return text.data();
}

}  // namespace

Style::Style() {
    std::setlocale(LC_CTYPE, "");
    unicode_ = std::strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    const char* term = std::getenv("TERM");
    live_ = isatty(STDOUT_FILENO) != 0 && term != nullptr && std::strcmp(term, "dumb") != 0;
    colour_ = live_ && std::getenv("NO_COLOR") == nullptr;
}

std::string Style::Paint(const char* code, const std::string& text) const {
    return colour_ ? std::string("\x1b[") + code + "m" + text + "\x1b[0m" : text;
}

std::string Style::Bar(double share, int width) const {
    const double eighths = std::clamp(share, 0.0, 1.0) * width * 8;
    const int whole = static_cast<int>(eighths) / 8;
    const int rest = static_cast<int>(eighths) % 8;
    std::string bar;
    if (!unicode_) {
        bar.assign(static_cast<std::size_t>(whole), '#');
        return bar.append(static_cast<std::size_t>(width - whole), '.');
    }
    static constexpr std::array<const char*, 8> kPart = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    for (int i = 0; i < whole; ++i) bar += "█";
    bar += kPart[static_cast<std::size_t>(rest)];
    std::string empty;
    for (int i = whole + (rest > 0 ? 1 : 0); i < width; ++i) empty += "░";
    return bar + Dim(empty);
}

std::string Style::Spark(const std::vector<double>& values) const {
    static constexpr std::array<const char*, 9> kUnicode = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static constexpr std::array<const char*, 9> kAscii = {" ", ".", ".", ":", ":", "|", "|", "#", "#"};
    const double top = values.empty() ? 0 : *std::max_element(values.begin(), values.end());
    std::string curve;
    for (const double value : values) {
        const int height = value <= 0 || top <= 0 ? 0 : std::max(1, static_cast<int>(std::lround(value / top * 8)));
        curve += (unicode_ ? kUnicode : kAscii)[static_cast<std::size_t>(height)];
    }
    return curve;
}

std::string Thousands(std::uint64_t number) {
    std::string text = std::to_string(number);
    for (int at = static_cast<int>(text.size()) - 3; at > 0; at -= 3) text.insert(static_cast<std::size_t>(at), ",");
    return text;
}

std::string Duration(Nanos nanos) {
    const double ms = static_cast<double>(nanos) / 1e6;
    if (ms < 10) return Format("%.1f ms", ms);
    if (ms < 1000) return Format("%.0f ms", ms);
    return Format("%.1f s", ms / 1000);
}

std::string Right(const std::string& text, std::size_t columns) {
    return text.size() < columns ? std::string(columns - text.size(), ' ') + text : text;
}

std::string Left(const std::string& text, std::size_t columns) {
    return text.size() < columns ? text + std::string(columns - text.size(), ' ') : text;
}

Panel::Panel(const Style& style, const Lap& lap, std::string title)
    : style_(style), lap_(lap), title_(std::move(title)) {
    column_ = {Now(), 0, 0};
    next_line_ = Now() + support::kSecond;
    if (style_.Live()) std::fputs("\x1b[?25l", stdout);
}

Panel::~Panel() {
    if (style_.Live()) std::fputs("\x1b[?25h", stdout);
    std::fflush(stdout);
}

void Panel::Look() {
    const Sample sample{Now(), lap_.Sent(), lap_.Done()};
    samples_.push_back(sample);
    while (samples_.size() > 2 && sample.at - samples_[1].at > support::kSecond) samples_.pop_front();
    if (sample.at - column_.at >= kColumn) {
        speeds_.push_back(static_cast<double>(sample.done - column_.done) / support::ToSeconds(sample.at - column_.at));
        if (speeds_.size() > kColumns) speeds_.erase(speeds_.begin());
        column_ = sample;
    }
}

double Panel::Rate(std::uint64_t Sample::*what) const {
    if (samples_.size() < 2) return 0;
    const Sample& first = samples_.front();
    const Sample& last = samples_.back();
    return last.at == first.at ? 0
                               : static_cast<double>(last.*what - first.*what) / support::ToSeconds(last.at - first.at);
}

// The shape of the latencies: half an octave a column, from 64 µs to 17 s; the square root makes rare ones visible.
std::string Panel::Latency() const {
    std::vector<double> columns;
    for (int bucket = 16 * 8; bucket < 34 * 8; bucket += 4) {
        double count = 0;
        for (int i = 0; i < 4; ++i) count += static_cast<double>(lap_.Latency().Count(bucket + i));
        columns.push_back(std::sqrt(count));
    }
    return style_.Spark(columns);
}

std::string Panel::Workers() const {
    std::string line;
    int number = 0;
    for (const auto& worker : lap_.Workers()) {
        const std::string done = Left(Thousands(worker->done), 7);
        const bool recent = Now() - worker->mood_since < 400 * support::kMillisecond;
        const auto mood = worker->mood.load();
        std::string mark = style_.Good(style_.Dot());
        if (mood == Lap::Mood::kKilled && recent) mark = style_.Bad(style_.Cross());
        if (mood == Lap::Mood::kRolledBack && recent) mark = style_.Warm(style_.Dot());
        if (mood == Lap::Mood::kIdle) mark = style_.Dim(style_.Dot());
        line += style_.Dim(std::to_string(++number));
        line.append(" ").append(mark).append(" ").append(done);
    }
    return line;
}

std::vector<std::string> Panel::Lines() const {
    const double total = static_cast<double>(lap_.Total());
    const auto progress = [&](const char* what, std::uint64_t count, double rate) {
        const double share = static_cast<double>(count) / total;
        return "  " + Left(what, 11) + style_.Blue(style_.Bar(share, 32)) + Right(Thousands(count), 9) +
               Right(Format("%.0f %%", share * 100), 7) + Right(Thousands(static_cast<std::uint64_t>(rate)), 9) + "/s";
    };
    const std::uint64_t sent = lap_.Sent();
    const std::uint64_t done = lap_.Done();
    const std::uint64_t waiting = sent > done ? sent - done : 0;
    const auto& latency = lap_.Latency();
    std::vector<std::string> lines = {
        "",
        "  " + style_.Bold(Left(title_, 66)) + Right(Format("%.1f s", lap_.Seconds()), 8),
        "",
        progress("sent", sent, Rate(&Sample::sent)),
        progress("processed", done, Rate(&Sample::done)),
        "  " + Left("waiting", 11) + style_.Warm(style_.Bar(static_cast<double>(waiting) / total, 32)) +
            Right(Thousands(waiting), 9),
        "",
        "  " + Left("speed", 11) + style_.Good(style_.Spark(speeds_)),
        "  send " + std::string(style_.Arrow()) + " done" + (std::strcmp(style_.Arrow(), "->") == 0 ? "" : " ") +
            style_.Good(Latency()) + "  p50 " + style_.Bold(Duration(latency.Percentile(0.5))) + "  p99 " +
            style_.Bold(Duration(latency.Percentile(0.99))),
        "  " + Left("workers", 11) + Workers(),
    };
    if (lap_.Options().trouble)
        lines.push_back("  " + Left("trouble", 11) + style_.Bad(Thousands(lap_.killed + lap_.cut)) + " killed (" +
                        Thousands(lap_.cut) + " cut off)  " + style_.Warm(Thousands(lap_.rolled_back)) +
                        " rolled back  " + Thousands(lap_.redelivered) + " delivered again");
    return lines;
}

void Panel::Draw(bool last) {
    Look();
    if (!style_.Live()) {
        if (Now() < next_line_ && !last) return;
        next_line_ += support::kSecond;
        const auto& latency = lap_.Latency();
        std::printf("  %5.1f s  sent %s  done %s (%s/s)  killed %s  p50 %s  p99 %s\n", lap_.Seconds(),
                    Right(Thousands(lap_.Sent()), 7).c_str(), Right(Thousands(lap_.Done()), 7).c_str(),
                    Right(Thousands(static_cast<std::uint64_t>(Rate(&Sample::done))), 6).c_str(),
                    Right(Thousands(lap_.killed + lap_.cut), 2).c_str(), Duration(latency.Percentile(0.5)).c_str(),
                    Duration(latency.Percentile(0.99)).c_str());
        std::fflush(stdout);
        return;
    }
    std::string frame;
    if (drawn_ > 0) frame = "\x1b[" + std::to_string(drawn_) + "A";
    const std::vector<std::string> lines = Lines();
    for (const std::string& line : lines) frame += "\r" + line + "\x1b[K\n";
    drawn_ = lines.size();
    std::fwrite(frame.data(), 1, frame.size(), stdout);
    std::fflush(stdout);
}

}  // namespace demo
