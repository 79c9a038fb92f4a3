// The checks of one key's value. Each value that is stored has a number of its own.
//
// - Who looks at a key, or is told what he replaces, sees the value of a transaction that was not rolled back, or none,
//   and not one that a committed change had replaced when he looked. All of it is flushed: crashes excuse nothing.
// - Each state is replaced by one committed change: a value is taken once, cas succeeds once for a version, and a key
//   comes into being once until it is removed. (Where a change doesn't tell what it replaced, the count must fit.)
// - From the answer to a change until its transaction ends nobody else changes the key.
// - No two values of a key have one version, ever.
#pragma once

#include "message_check.hpp"

namespace torture {

struct ValueView {
    std::vector<const KeyWrite*> writes;
    std::vector<const Reading*> readings;
};

class ValueCheck {
public:
    ValueCheck(std::uint32_t key, const ValueView& view, Context& context) : key_(key), v_(view), c_(context) {}
    void Run(History& history);

private:
    // What a key held when somebody looked.
    struct Sight {
        std::uint64_t uid;
        TxId tx;
        Nanos as_of, resp;
        const char* what;
    };
    struct Committed {
        Nanos req, end_resp;  // end_resp: the earliest of this one and all later ones
    };

    void Collect();
    void CollectSights();
    void CheckVersions(History& history);
    void CheckSight(const Sight& sight);
    void CheckAbsent(const Sight& sight);
    void CheckLinks();
    void CheckCreations();
    void CheckWriters();
    bool Replaced(Nanos since, Nanos as_of) const;
    std::uint64_t Predecessor(const KeyWrite& write) const;
    void Report(Fault fault, const std::string& what);
    std::string Story(Nanos from, Nanos to) const;

    std::uint32_t key_;
    const ValueView& v_;
    Context& c_;
    std::unordered_map<std::uint64_t, const KeyWrite*> source_;   // by the value's number
    std::unordered_map<std::int64_t, std::uint64_t> of_version_;  // number, by version
    std::vector<const KeyWrite*> removals_;                       // that may have happened, by req
    std::vector<Committed> committed_;                            // changes, by req
    std::vector<Sight> sights_;
};

}  // namespace torture
