// The bindings of the database as a trie over the patterns' words, in memory of its own.
#pragma once

#include "pgqueue/pg/memory.hpp"

namespace pgqueue::queue {

// A binding whose strings live as long as the trie.
struct Binding {
    std::string_view pattern;
    uint32 queue;  // which of the queues' names, in their order
};

// Built once from all bindings and then only read, by one backend. A topic is matched by following all ways through the
// trie at once, a word at a time, so each node is visited at most once a word, however many '#' there are.
class BindingTrie {
public:
    // Everything is allocated in the current memory context, which must outlive the trie. `queues`: the names by their
    // numbers, sorted; it and `bindings` are sorted and kept.
    BindingTrie(pg::Vector<Binding>&& bindings, pg::Vector<const char*>&& queues);

    // The numbers of the queues that some pattern of theirs makes match, in the order of their names, each once.
    void Match(std::string_view topic, pg::Vector<uint32>* queues);
    const char* QueueName(uint32 queue) const { return queues_[queue]; }

private:
    // A way from the root; its children are nodes in a row, in the order of their words.
    struct Node {
        std::string_view word;
        uint32 first = 0;     // of its bindings: those of its subtree are in a row
        uint32 end = 0;       // behind the last of the subtree
        uint32 ends = 0;      // how many end here; they come first
        uint32 children = 0;  // the first
        uint32 child_count = 0;
        uint32 star = 0;     // the child "*"; 0: none, since the root is nobody's child
        uint32 hash = 0;     // the child "#"
        uint64 visited = 0;  // the step that was here last
    };

    void AddChildren(uint32 parent, uint32 depth);
    uint32 Child(const Node& node, std::string_view word) const;
    void Visit(uint32 node, pg::Vector<uint32>* active);

    pg::Vector<Binding> bindings_;
    pg::Vector<const char*> queues_;
    pg::Vector<Node> nodes_;
    uint64 step_ = 0;
};

}  // namespace pgqueue::queue
