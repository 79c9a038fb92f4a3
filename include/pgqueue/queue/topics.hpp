// Topics: messages published under a name of words, copied to the queues that are bound to a pattern which matches.
//
// Words are split by '.'. In a pattern '*' stands for one word and '#' for any number of them, none included.
#pragma once

#include "pgqueue/queue/send.hpp"

namespace pgqueue::queue {

inline constexpr int kMaxTopicBytes = 255;

// False: it is bound already. Needs the right to send to the queue. Raises invalid_parameter_value for a bad pattern.
bool Bind(std::string_view pattern, const char* queue);
// False: it is not bound. Needs the same right, or to own the queue.
bool Unbind(std::string_view pattern, const char* queue);

struct Copies {
    const char* queue;
    int64 first_id;  // of as many consecutive ones as there are messages
};

// Sends the messages to each queue that is bound to the topic, in the order of the queues' names, whoever may send
// there: the right was checked when binding. Bindings count as they are committed now, and the transaction's own. The
// headers get the topic, unless they have a key of that name. A binding whose queue is gone is passed by.
pg::Vector<Copies> Publish(std::string_view topic, OutgoingMessage* messages, int count, std::optional<double> delay);

}  // namespace pgqueue::queue
