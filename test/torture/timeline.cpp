// The story of one message, for the report of a violation.
#include "message_check.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

namespace torture {

namespace {

constexpr std::size_t kMostLines = 40;

std::string Ms(Nanos at, Nanos origin) {
    if (at == kNever) return "?";
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.3f", static_cast<double>(at - origin) / 1e6);
    return text.data();
}

const char* Word(Outcome outcome) {
    switch (outcome) {
        case Outcome::kCommitted:
            return "committed";
        case Outcome::kRolledBack:
            return "rolled back";
        default:
            return "unknown";
    }
}

const char* Word(Answer answer) {
    switch (answer) {
        case Answer::kYes:
            return "yes";
        case Answer::kNo:
            return "no";
        default:
            return "unknown";
    }
}

const char* Word(ActKind kind) {
    static constexpr std::array<const char*, 5> kWords = {"delete", "archive", "sql delete", "nack", "set_vt"};
    return kWords[static_cast<std::size_t>(kind)];
}

const char* Word(TakeKind kind) {
    static constexpr std::array<const char*, 5> kWords = {"read", "pop", "peek", "handled", "handler's attempt"};
    return kWords[static_cast<std::size_t>(kind)];
}

}  // namespace

std::string MessageCheck::History(Nanos origin) const {
    struct Line {
        Nanos req;
        std::string text;
    };
    std::vector<Line> lines;
    if (origin == kNever) {
        for (const Send* send : m_.sends) origin = std::min(origin, send->req);
        for (const Take* take : m_.takes) origin = std::min(origin, take->req);
        for (const Act* act : m_.acts) origin = std::min(origin, act->req);
    }
    if (origin == kNever) origin = 0;

    const auto add = [&](TxId tx, Nanos req, Nanos resp, const std::string& what) {
        const Fate& fate = c_.fates.Of(tx);
        lines.push_back({req, "      [" + Ms(req, origin) + " .. " + Ms(resp, origin) + "] " + what + "; tx " +
                                  std::to_string(fate.root) + " " + Word(fate.outcome) + " [" +
                                  Ms(fate.end_req, origin) + " .. " + Ms(fate.end_resp, origin) + "]"});
    };
    for (const Send* send : m_.sends)
        add(send->tx, send->req, send->resp,
            (send->redriven ? "redriving of number " : "send of number ") + std::to_string(send->uid) +
                (send->key != 0 ? ", key " + std::to_string(send->key) : std::string()) +
                (send->repeat ? ", a repeat" : "") +
                (send->due != 0 ? ", due " + Ms(send->due, origin) : std::string()));
    for (const Take* take : m_.takes)
        add(take->tx, take->req, take->resp,
            std::string(Word(take->kind)) + " of number " + std::to_string(take->uid) + ", receipt " +
                std::to_string(take->receipt) + ", read_ct " + std::to_string(take->read_ct) + ", until " +
                Ms(take->until, origin));
    for (const Act* act : m_.acts)
        add(act->tx, act->req, act->resp,
            std::string(Word(act->kind)) + " with receipt " + std::to_string(act->receipt) + ": " + Word(act->answer) +
                (act->until != 0 ? ", until " + Ms(act->until, origin) : std::string()));
    const Nanos last = lines.empty() ? origin : std::max_element(lines.begin(), lines.end(), [](auto& a, auto& b) {
                                                    return a.req < b.req;
                                                })->req;
    for (const Crash& crash : c_.journal.crashes)
        if (crash.end >= origin && crash.req <= last + support::kSecond)
            lines.push_back(
                {crash.req, "      [" + Ms(crash.req, origin) + " .. " + Ms(crash.end, origin) + "] server crash"});
    std::sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) { return a.req < b.req; });

    std::string text = "    times in ms; receipt 0: none";
    for (std::size_t i = 0; i < lines.size() && i < kMostLines; ++i) text += "\n" + lines[i].text;
    if (lines.size() > kMostLines) text += "\n      ... " + std::to_string(lines.size() - kMostLines) + " more";
    if (m_.leftover) text += "\n      in the table at the end";
    if (!m_.dead.empty()) text += "\n      a dead letter at the end";
    if (next_life_ != nullptr) text += "\n      redriven, as message " + std::to_string(next_life_->msg_id);
    if (!m_.archived.empty()) text += "\n      in the archive at the end";
    return text;
}

std::string HistoryOf(const Send& send, const Send& origin, Context& context) {
    MessageView message;
    message.queue = send.queue;
    message.msg_id = send.msg_id;
    const auto gather = [&](const auto& records, auto& into) {
        for (const auto& record : records)
            if (record.queue == send.queue && record.msg_id == send.msg_id) into.push_back(&record);
    };
    gather(context.journal.sends, message.sends);
    gather(context.journal.takes, message.takes);
    gather(context.journal.acts, message.acts);
    gather(context.journal.archived, message.archived);
    gather(context.journal.dead, message.dead);
    return MessageCheck(message, context).History(origin.req);
}

}  // namespace torture
