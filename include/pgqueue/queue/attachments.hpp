// Handlers attached to queues: rows of queue.attachments, and the functions that they name.
#pragma once

#include "pgqueue/queue/queue.hpp"

namespace pgqueue::queue {

inline constexpr int kHandlerBytes = 2 * (2 * NAMEDATALEN + 2) + 2;  // schema.function, quoted
inline constexpr int64 kMostProcesses = 1000;
inline constexpr int64 kLargestBatch = 10000;

struct AttachSettings {
    const char* handler;  // a function's name; found by the caller's search_path if it has no schema
    int64 concurrency = 1;
    const char* run_as = nullptr;  // null: the current role
    int64 batch = 1;
    std::optional<double> vt;  // seconds; nothing: the queue's
};

// Attaches the handler, in place of one that is there. The current role, and the one that the handler runs as, may
// consume from the queue and execute the function. Raises undefined_table, undefined_function, insufficient_privilege.
void Attach(const char* queue, const AttachSettings& settings);
// False: none is attached. For the queue's owner, and who may act as the role that the handler runs as.
bool Detach(const char* queue);

// What a process of the handler must know. Memory of the current context.
struct Attachment {
    const char* handler;
    const char* run_as;
    int64 batch;
    std::optional<double> vt;
};
std::optional<Attachment> ReadAttachment(const char* queue);

// The function of that name with one argument of type queue.message, which the current role may execute. Raises
// undefined_function, insufficient_privilege, wrong_object_type.
Oid ResolveHandler(const char* handler);
Oid MessageType();

}  // namespace pgqueue::queue
