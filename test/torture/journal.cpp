#include "journal.hpp"

#include <algorithm>
#include <cmath>

namespace torture {

namespace {

template <class T>
void Append(std::vector<T>& to, std::vector<T>& from) {
    to.insert(to.end(), from.begin(), from.end());
    from.clear();
    from.shrink_to_fit();
}

}  // namespace

// It doubles from one attempt to the next; up to a half of it is left out by chance.
Nanos ShortestBackoff(const Queue& queue, std::int32_t attempt) {
    const double longest = std::ldexp(queue.backoff, std::clamp(attempt - 1, 0, 60));
    return support::FromSeconds(std::min(queue.backoff_max, longest) / 2);
}

void Journal::Absorb(Journal& other) {
    const auto tx_base = static_cast<TxId>(txs.size());
    const auto conn_base = static_cast<std::uint32_t>(conns.size());
    for (Tx& tx : other.txs) {
        tx.conn += conn_base;
        if (tx.parent != kNoTx) tx.parent += tx_base;
    }
    for (Send& send : other.sends) send.tx += tx_base;
    for (Take& take : other.takes) take.tx += tx_base;
    for (Act& act : other.acts) act.tx += tx_base;
    for (Blind& blind : other.blinds) blind.tx += tx_base;
    Append(conns, other.conns);
    Append(txs, other.txs);
    Append(sends, other.sends);
    Append(takes, other.takes);
    Append(acts, other.acts);
    Append(blinds, other.blinds);
    Append(kills, other.kills);
    Append(crashes, other.crashes);
    Append(resolutions, other.resolutions);
    Append(archived, other.archived);
    Append(dead, other.dead);
    Append(leftovers, other.leftovers);
    Append(echoes, other.echoes);
    kv.Absorb(other.kv, tx_base);
    Append(troubles, other.troubles);
}

}  // namespace torture
