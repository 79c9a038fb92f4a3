// The checks of one message: everything that was ever said about (queue, msg_id), side by side.
#pragma once

#include "fates.hpp"
#include "group_check.hpp"

#include <string>
#include <unordered_map>
#include <vector>

namespace torture {

struct MessageView {
    std::uint16_t queue = 0;
    std::int64_t msg_id = 0;
    std::vector<const Send*> sends;  // several: a rolled-back send's id may come again after a crash
    std::vector<const Take*> takes;
    std::vector<const Act*> acts;
    std::vector<const ArchiveRow*> archived;
    std::vector<const DeadRow*> dead;
    bool leftover = false;
};

// What speaks for and against a commit whose answer was lost.
struct Evidence {
    std::string committed, aborted;
};

struct Missing {
    std::int64_t msg_id;
    std::string history;  // of the first few
};

// What all messages share.
struct Context {
    const Journal& journal;
    const Fates& fates;
    std::vector<Violation>& violations;
    Coverage& coverage;
    std::vector<const Send*> send_of;  // by uid - first_uid: what was sent, not redriven
    std::unordered_map<std::uint64_t, std::vector<const Send*>> lives;  // by uid: each redriving, in order
    std::vector<std::vector<Nanos>> blind_reqs;                         // by queue, sorted
    std::vector<std::int64_t> blind_pops;         // by queue: messages that one may have taken unseen
    std::vector<std::vector<Missing>> missing;    // by queue, to be set against blind_pops
    std::unordered_map<TxId, Evidence> evidence;  // by root, of unknown transactions
    std::vector<GroupMember> members;             // messages of groups

    const Send* SendOf(std::uint64_t uid) const;
    // The same, or the redriving that the message comes from.
    const Send* SendOf(std::uint64_t uid, std::uint16_t queue, std::int64_t msg_id) const;
};

class MessageCheck {
public:
    MessageCheck(const MessageView& message, Context& context) : m_(message), c_(context) {}
    void Run();
    std::string History(Nanos origin) const;  // times from there on; kNever: from its first record on

private:
    // A time in which nobody but its owner may be handed the message.
    struct Hold {
        Nanos req, start, end;
        std::int64_t receipt;   // 0: not known
        const Take* take;       // of a lease
        const Act* act;         // of a nack or set_vt
        Nanos paused = kNever;  // from here on nobody holds it; it only isn't due yet
    };
    // An ack of any kind. Unless it is rolled back nobody gets the message afterwards.
    struct Removal {
        const Take* take;  // of a pop
        const Act* act;
        TxId tx;
        Nanos req, resp;
        bool certain;  // answered
        bool archives;
    };

    void CollectHolds();
    void EndByOthers(Hold& hold);
    void EndByCrash(Hold& hold);
    void CollectRemovals();
    void CheckTake(const Take& take);
    void CheckOrigin(const Take& take);
    void CheckExclusion();
    void CheckReadCounts();
    void CheckActs();
    void CheckFence(const Act& act);
    void CheckEnd();
    void CheckArchive();
    void CheckDead();
    void CheckRedriven();
    void CheckGone(const Send& moved, const Send& send);
    void NoteMember();
    Nanos ThereUntil(const Send& send) const;
    bool Prolongs(const Hold& heartbeat, const Hold& lease) const;
    const Send* TheSend() const;
    bool SurvivesCrashes(Nanos req, Nanos resp, Nanos until) const;
    bool IsHandled() const { return c_.journal.queues[m_.queue].handlers > 0; }
    bool Unlogged() const { return c_.journal.queues[m_.queue].unlogged; }
    void Report(Fault fault, const std::string& what);

    const MessageView& m_;
    Context& c_;
    std::vector<Hold> holds_;
    std::vector<Removal> removals_;
    const Send* next_life_ = nullptr;  // it was redriven, as this
    bool perhaps_redriven_ = false;    // by a transaction of unknown outcome
};

// What became of the message of a send, with times from the origin's request on.
std::string HistoryOf(const Send& send, const Send& origin, Context& context);

}  // namespace torture
