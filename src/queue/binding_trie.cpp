#include "pgqueue/queue/binding_trie.hpp"

namespace pgqueue::queue {
namespace {

constexpr char kSeparator = '.';

// Word by word, and so that a prefix comes before what goes on from it: the separator counts as the lowest byte.
bool Before(std::string_view a, std::string_view b) {
    const auto rank = [](char c) { return c == kSeparator ? 0 : static_cast<unsigned char>(c); };
    const std::size_t common = std::min(a.size(), b.size());
    for (std::size_t i = 0; i < common; i++)
        if (a[i] != b[i]) return rank(a[i]) < rank(b[i]);
    return a.size() < b.size();
}

// The word that begins at `at`.
std::string_view WordAt(std::string_view text, std::size_t at) {
    const std::size_t end = text.find(kSeparator, at);
    return {text.data() + at, (end == std::string_view::npos ? text.size() : end) - at};
}

}  // namespace

BindingTrie::BindingTrie(pg::Vector<Binding>&& bindings, pg::Vector<const char*>&& queues)
    : bindings_(std::move(bindings)), queues_(std::move(queues)) {
    std::sort(bindings_.begin(), bindings_.end(), [](const Binding& a, const Binding& b) {
        return a.pattern != b.pattern ? Before(a.pattern, b.pattern) : a.queue < b.queue;
    });
    nodes_.push_back({});
    nodes_[0].end = static_cast<uint32>(bindings_.size());
    // Level by level, so that the children of a node come to lie in a row. `at`: where the next word of the bindings of
    // the level's nodes begins; it is the same for all bindings of a node, whose words so far are the same.
    pg::Vector<uint32> at(1, 0);
    for (uint32 node = 0; node < nodes_.size(); node++) {
        CHECK_FOR_INTERRUPTS();
        const uint32 depth = at[node];
        AddChildren(node, depth);
        for (uint32 i = static_cast<uint32>(at.size()); i < nodes_.size(); i++)
            at.push_back(depth + static_cast<uint32>(nodes_[i].word.size()) + 1);
    }
}

void BindingTrie::AddChildren(uint32 parent, uint32 depth) {
    uint32 i = nodes_[parent].first;
    const uint32 end = nodes_[parent].end;
    // The root has the place 0 of the first word; others that end have no separator behind them.
    while (i < end && parent != 0 && bindings_[i].pattern.size() < depth) i++;
    nodes_[parent].ends = i - nodes_[parent].first;
    const auto children = static_cast<uint32>(nodes_.size());
    while (i < end) {
        Node child;
        child.word = WordAt(bindings_[i].pattern, depth);
        child.first = i;
        while (i < end && WordAt(bindings_[i].pattern, depth) == child.word) i++;
        child.end = i;
        const auto number = static_cast<uint32>(nodes_.size());
        if (child.word == "*") nodes_[parent].star = number;
        if (child.word == "#") nodes_[parent].hash = number;
        nodes_.push_back(child);
    }
    nodes_[parent].children = children;
    nodes_[parent].child_count = static_cast<uint32>(nodes_.size()) - children;
}

uint32 BindingTrie::Child(const Node& node, std::string_view word) const {
    const Node* first = nodes_.data() + node.children;
    const Node* last = first + node.child_count;
    const Node* found =
        std::lower_bound(first, last, word, [](const Node& n, std::string_view w) { return n.word < w; });
    return found != last && found->word == word ? static_cast<uint32>(found - nodes_.data()) : 0;
}

// A way has come to the node; "#" may stand for no word, so its child is reached as well.
void BindingTrie::Visit(uint32 node, pg::Vector<uint32>* active) {
    while (nodes_[node].visited != step_) {
        nodes_[node].visited = step_;
        active->push_back(node);
        if (nodes_[node].hash == 0) return;
        node = nodes_[node].hash;
    }
}

void BindingTrie::Match(std::string_view topic, pg::Vector<uint32>* queues) {
    pg::Vector<uint32> active;
    pg::Vector<uint32> next;
    step_++;
    Visit(0, &active);
    for (std::size_t at = 0; at <= topic.size();) {
        const std::string_view word = WordAt(topic, at);
        at += word.size() + 1;
        step_++;
        next.clear();
        for (const uint32 number : active) {
            const Node& node = nodes_[number];
            if (number != 0 && node.word == "#") Visit(number, &next);
            if (node.star != 0) Visit(node.star, &next);
            // No word of a topic is a wildcard.
            if (const uint32 child = Child(node, word)) Visit(child, &next);
        }
        std::swap(active, next);
        CHECK_FOR_INTERRUPTS();
    }
    for (const uint32 number : active)
        for (uint32 i = 0; i < nodes_[number].ends; i++) queues->push_back(bindings_[nodes_[number].first + i].queue);
    std::sort(queues->begin(), queues->end());
    queues->erase(std::unique(queues->begin(), queues->end()), queues->end());
}

}  // namespace pgqueue::queue
