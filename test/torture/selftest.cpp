// Does the checker find what it claims to find, and does it keep quiet about what is allowed?
#include "selftest.hpp"

#include <cstdio>
#include <string>

#include "story.hpp"

namespace torture {

bool SelfTest() {
    int wrong = 0;
    std::vector<bool> covered(static_cast<std::size_t>(Fault::kCount));
    std::vector<Case> cases = FaultyCases();
    for (Case& sound : SoundCases()) cases.push_back(std::move(sound));
    for (Case& one : CounterAndLockCases()) cases.push_back(std::move(one));
    for (Case& one : ValueCases()) cases.push_back(std::move(one));
    for (Case& one : DeadLetterCases()) cases.push_back(std::move(one));
    for (Case& one : RedriveCases()) cases.push_back(std::move(one));
    for (Case& one : HandlerCases()) cases.push_back(std::move(one));
    for (Case& one : DedupCases()) cases.push_back(std::move(one));
    for (Case& one : GroupCases()) cases.push_back(std::move(one));
    for (const Case& one : cases) {
        Story story;
        one.tell(story);
        const Verdict verdict = Check(story.j, story.history);
        bool found = false;
        for (const Violation& violation : verdict.violations) found = found || violation.fault == one.fault;
        if (one.fault) covered[static_cast<std::size_t>(*one.fault)] = true;
        if (one.fault ? found : verdict.violations.empty()) continue;
        ++wrong;
        std::printf("self-test: %s: %s\n", one.name,
                    one.fault ? (std::string("not found: ") + Name(*one.fault)).c_str() : "a false alarm");
        for (const Violation& violation : verdict.violations)
            std::printf("    %s: %s\n", Name(violation.fault), violation.text.c_str());
    }
    for (std::size_t i = 0; i < covered.size(); ++i) {
        if (covered[i]) continue;
        ++wrong;
        std::printf("self-test: no journal with the fault '%s'\n", Name(static_cast<Fault>(i)));
    }
    std::printf("self-test: %zu journals, %d wrong\n", cases.size(), wrong);
    return wrong == 0;
}

}  // namespace torture
