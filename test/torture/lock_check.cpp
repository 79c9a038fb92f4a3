#include "lock_check.hpp"

#include <algorithm>

namespace torture {

namespace {

std::string Text(const LockCall& call) {
    static constexpr const char* kKinds[] = {"lock", "renew", "unlock", "assert_lock"};
    static constexpr const char* kAnswers[] = {"yes", "no", "unknown"};
    return std::string(kKinds[static_cast<std::size_t>(call.kind)]) + " of token " + std::to_string(call.token) +
           " for " + std::to_string(support::ToSeconds(call.ttl)) + " s, " +
           kAnswers[static_cast<std::size_t>(call.answer)] + " [" + std::to_string(support::ToSeconds(call.req)) +
           " .. " + std::to_string(support::ToSeconds(call.resp)) + "]";
}

bool Sets(const LockCall& call) { return call.kind == LockKind::kGrant || call.kind == LockKind::kRenew; }

}  // namespace

void LockCheck::Run(std::int64_t& highest) {
    Collect();
    CheckHolders();
    CheckTokens(highest);
    CheckRefusals();
    CheckAnswers();
}

void LockCheck::Collect() {
    for (const LockCall* call : calls_) {
        if (call->answer == Answer::kNo || call->kind == LockKind::kAssert) continue;
        if (call->kind != LockKind::kGrant) tokens_[call->token].changes.push_back(call);
        if (call->kind == LockKind::kGrant && call->answer == Answer::kYes && tokens_[call->token].grant == nullptr)
            tokens_[call->token].grant = call;
    }
    for (const LockCall* call : calls_) {
        if (!Sets(*call) || call->answer != Answer::kYes) continue;
        Token& token = tokens_[call->token];
        Hold hold{call, call->resp, call->req + call->ttl - c_.journal.margin};
        for (const LockCall* change : token.changes)
            if (change != call && change->resp > call->req) hold.end = std::min(hold.end, change->req);
        token.holds.push_back(hold);
        holds_.push_back(hold);
        for (const Crash& crash : c_.journal.crashes)
            if (hold.start < crash.req && hold.end > crash.end) ++c_.coverage.locks_over_crash;
    }
    std::sort(holds_.begin(), holds_.end(), [](const Hold& a, const Hold& b) { return a.start < b.start; });
}

void LockCheck::CheckHolders() {
    for (std::size_t i = 0; i < holds_.size(); ++i) {
        const Hold& one = holds_[i];
        ++c_.coverage.locks_granted;
        for (std::size_t j = i + 1; j < holds_.size() && holds_[j].start < one.end; ++j) {
            const Hold& other = holds_[j];
            if (other.call->token == one.call->token) continue;
            // Both have it when the second answer is there; or the second came and went while the first had it.
            if (other.start < other.end || other.call->req > one.start)
                Report(Fault::kTwoLockers, Text(*one.call) + " and " + Text(*other.call));
        }
    }
}

void LockCheck::CheckTokens(std::int64_t& highest) {
    struct Grant {
        std::int64_t token;
        Nanos not_before, resp;
        const LockCall* call;
    };
    std::vector<Grant> grants;
    for (const LockCall* call : calls_) {
        if (call->kind != LockKind::kGrant || call->answer != Answer::kYes) continue;
        Nanos end = call->req + call->ttl - c_.journal.margin;
        for (const LockCall* change : tokens_[call->token].changes) end = std::min(end, change->req);
        // Who still has it when he hears of it was granted it after all whose answers had arrived by then.
        grants.push_back({call->token, end >= call->resp ? call->resp : call->req, call->resp, call});
    }
    std::sort(grants.begin(), grants.end(), [](const Grant& a, const Grant& b) { return a.token < b.token; });
    const std::int64_t earlier = highest;
    const Grant* latest = nullptr;
    for (const Grant& grant : grants) {
        if (grant.token <= earlier)
            Report(Fault::kTokenOrder,
                   Text(*grant.call) + ", and an earlier round has seen " + std::to_string(earlier));
        if (latest != nullptr && (grant.resp < latest->not_before || grant.token == highest))
            Report(Fault::kTokenOrder, Text(*grant.call) + ", and later " + Text(*latest->call));
        highest = std::max(highest, grant.token);
        if (latest == nullptr || grant.not_before > latest->not_before) latest = &grant;
    }
}

// Until when a token may have held, at the latest: by what was asked for before that call was answered.
Nanos LockCheck::LastEnd(const Token& token, const LockCall* call) const {
    const Nanos margin = c_.journal.margin;
    Nanos end = token.grant != nullptr ? token.grant->resp + token.grant->ttl + margin : 0;
    Nanos given_back = kNever;
    for (const LockCall* change : token.changes) {
        if (call != nullptr && (change == call || change->req >= call->resp)) continue;
        if (change->kind == LockKind::kRenew) end = std::max(end, change->resp + change->ttl + margin);
        if (change->kind == LockKind::kUnlock && change->answer == Answer::kYes)
            given_back = std::min(given_back, change->resp);
    }
    return std::min(end, given_back);
}

void LockCheck::CheckRefusals() {
    struct Span {
        Nanos req, end;
    };
    std::vector<Span> spans;
    for (const LockCall* call : calls_)
        if (call->kind == LockKind::kGrant && call->answer == Answer::kUnknown)
            spans.push_back({call->req, call->resp + call->ttl + c_.journal.margin});
    for (const auto& [number, token] : tokens_)
        if (token.grant != nullptr) spans.push_back({token.grant->req, LastEnd(token, nullptr)});
    std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.req < b.req; });
    for (std::size_t i = 1; i < spans.size(); ++i) spans[i].end = std::max(spans[i].end, spans[i - 1].end);

    for (const LockCall* call : calls_) {
        if (call->kind != LockKind::kGrant || call->answer != Answer::kNo) continue;
        ++c_.coverage.locks_refused;
        const auto after = std::upper_bound(spans.begin(), spans.end(), call->resp,
                                            [](Nanos at, const Span& span) { return at < span.req; });
        if (after == spans.begin() || std::prev(after)->end < call->req) Report(Fault::kFreeLockRefused, Text(*call));
    }
}

void LockCheck::CheckAnswers() {
    // The earliest answer among the grants of higher tokens ends a token.
    std::vector<std::pair<std::int64_t, Nanos>> granted;
    for (const auto& [number, token] : tokens_)
        if (token.grant != nullptr) granted.emplace_back(number, token.grant->resp);
    std::sort(granted.begin(), granted.end());
    for (std::size_t i = granted.size(); i-- > 1;)
        granted[i - 1].second = std::min(granted[i - 1].second, granted[i].second);
    for (const LockCall* call : calls_) {
        if (call->kind == LockKind::kGrant || call->answer == Answer::kUnknown) continue;
        const auto next = std::upper_bound(granted.begin(), granted.end(), std::pair(call->token, kNever));
        CheckAnswer(*call, next == granted.end() ? kNever : next->second);
    }
}

void LockCheck::CheckAnswer(const LockCall& call, Nanos successor) {
    const auto found = tokens_.find(call.token);
    const bool known = found != tokens_.end() && found->second.grant != nullptr;
    const bool over = !known || successor < call.req || LastEnd(found->second, &call) < call.req;
    const bool held =
        known && std::any_of(found->second.holds.begin(), found->second.holds.end(), [&](const Hold& hold) {
            return hold.call != &call && hold.start < call.req && hold.end > call.resp;
        });
    if (over || held) ++c_.coverage.locks_answered;
    if (call.answer == Answer::kYes && over) Report(Fault::kLockOverAccepted, Text(call));
    if (call.answer == Answer::kNo && held) Report(Fault::kLockHeldRefused, Text(call));
}

void LockCheck::Report(Fault fault, const std::string& what) {
    c_.violations.push_back({fault, "lock " + std::to_string(number_) + ": " + what});
}

}  // namespace torture
