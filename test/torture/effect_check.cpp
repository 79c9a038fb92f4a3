#include "effect_check.hpp"

#include <unordered_map>

#include "message_check.hpp"

namespace torture {

void CheckEchoes(Context& context) {
    std::unordered_map<std::int64_t, int> echoes;  // by place
    for (const std::int64_t place : context.journal.echoes) ++echoes[place];
    for (const Take& take : context.journal.takes) {
        if (take.kind == TakeKind::kTried) ++context.coverage.tried;
        if (take.kind != TakeKind::kHandled) continue;
        const auto found = echoes.find(take.place);
        const int count = found == echoes.end() ? 0 : found->second;
        if (count > 0) echoes.erase(found);
        if (count == 1) continue;
        context.violations.push_back({Fault::kEffects, context.journal.queues[take.queue].name + " " +
                                                           std::to_string(take.msg_id) + ": call " +
                                                           std::to_string(take.place) + " has left its row and " +
                                                           std::to_string(count) + " echoes"});
    }
    for (const auto& [place, count] : echoes)
        context.violations.push_back(
            {Fault::kEffects, place < 0 ? std::to_string(count) + " echoes that the function itself had undone"
                                        : "call " + std::to_string(place) + " has left " + std::to_string(count) +
                                              " echoes and no row"});
}

}  // namespace torture
