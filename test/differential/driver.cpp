// Answers lines of "schedule<TAB>zone<TAB>instant<TAB>count" with the due times after the instant, as seconds since
// 1970, or with "error" and what is wrong.
#include <cstdio>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>

#include "support/libc_zone.hpp"

using pgqueue::cron::Instant;
using pgqueue::cron::NextAfter;
using pgqueue::cron::Parse;
using pgqueue::cron::ParseError;
using pgqueue::cron::Schedule;

namespace {

std::string Answer(const std::string& line, std::map<std::string, std::unique_ptr<support::LibcZone>>* zones) {
    std::istringstream in(line);
    std::string text;
    std::string zone_name;
    Instant at = 0;
    int count = 0;
    std::getline(in, text, '\t');
    std::getline(in, zone_name, '\t');
    in >> at >> count;
    Schedule schedule;
    ParseError error;
    if (!Parse(text, &schedule, &error)) return std::string("error ") + error.reason;
    std::unique_ptr<support::LibcZone>& zone = (*zones)[zone_name];
    if (!zone) zone = std::make_unique<support::LibcZone>(zone_name);
    std::string answer;
    for (; count > 0; count--) {
        const auto next = NextAfter(schedule, *zone, at);
        if (!next) break;
        at = *next;
        answer += (answer.empty() ? "" : " ") + std::to_string(at);
    }
    return answer;
}

}  // namespace

int main() {
    std::map<std::string, std::unique_ptr<support::LibcZone>> zones;
    for (std::string line; std::getline(std::cin, line);) std::puts(Answer(line, &zones).c_str());
    return 0;
}
