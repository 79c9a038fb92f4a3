#include "kv_journal.hpp"

namespace torture {

namespace {

template <class T>
void Append(std::vector<T>& to, std::vector<T>& from) {
    to.insert(to.end(), from.begin(), from.end());
    from.clear();
    from.shrink_to_fit();
}

}  // namespace

void KvJournal::Absorb(KvJournal& other, TxId tx_base) {
    for (Increment& increment : other.increments) increment.tx += tx_base;
    for (KeyWrite& write : other.writes) write.tx += tx_base;
    for (Reading& reading : other.readings) reading.tx += tx_base;
    Append(increments, other.increments);
    Append(looks, other.looks);
    Append(lock_calls, other.lock_calls);
    Append(writes, other.writes);
    Append(readings, other.readings);
    Append(audits, other.audits);
}

void KvJournal::Unanswered(const Mark& mark, Nanos resp) {
    for (std::size_t i = mark.increments; i < increments.size(); ++i) increments[i].resp = resp;
    for (std::size_t i = mark.lock_calls; i < lock_calls.size(); ++i) lock_calls[i].resp = resp;
    for (std::size_t i = mark.writes; i < writes.size(); ++i) writes[i].resp = resp;
}

}  // namespace torture
