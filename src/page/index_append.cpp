#include "pgqueue/page/index_append.hpp"

#include "pgqueue/page/inplace.hpp"

namespace pgqueue::page {
namespace {

// An entry as index_form_tuple makes it for one bigint.
struct Entry {
    IndexTupleData head;
    int64 key;
};
static_assert(sizeof(Entry) == 16 && sizeof(Entry) == MAXALIGN(sizeof(Entry)));
constexpr int kEntryRoom = sizeof(Entry) + sizeof(ItemIdData);

// How far from the leaf's end a key is looked for: senders that drew their ids at about the same time.
constexpr int kMostBehind = 64;

// The key of an entry; posting lists have it at the same place.
int64 KeyAt(Page page, OffsetNumber off) {
    return reinterpret_cast<const Entry*>(PageGetItem(page, PageGetItemId(page, off)))->key;
}

bool IsLastLeaf(Page page) {
    const BTPageOpaque opaque = BTPageGetOpaque(page);
    return P_ISLEAF(opaque) && P_RIGHTMOST(opaque) && !P_IGNORE(opaque);
}

// Walks down the right edge of the tree, one page locked at a time; what it finds is checked again by who uses it.
// InvalidBlockNumber: the tree is empty, of an old format, or changing under us.
BlockNumber FindLastLeaf(Relation index) {
    Buffer buffer = ReadBuffer(index, BTREE_METAPAGE);
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    const BTMetaPageData* meta = BTPageGetMeta(BufferGetPage(buffer));
    BlockNumber block =
        meta->btm_magic == BTREE_MAGIC && meta->btm_version == BTREE_VERSION ? meta->btm_fastroot : InvalidBlockNumber;
    UnlockReleaseBuffer(buffer);
    if (block == P_NONE) return InvalidBlockNumber;
    while (block != InvalidBlockNumber) {
        CHECK_FOR_INTERRUPTS();
        buffer = ReadBuffer(index, block);
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        _bt_checkpage(index, buffer);
        Page page = BufferGetPage(buffer);
        const BTPageOpaque opaque = BTPageGetOpaque(page);
        const OffsetNumber last = PageGetMaxOffsetNumber(page);
        const bool found = IsLastLeaf(page);
        BlockNumber next = InvalidBlockNumber;
        if (!found && !P_RIGHTMOST(opaque))
            next = opaque->btpo_next;
        else if (!found && !P_ISLEAF(opaque) && !P_IGNORE(opaque) && last >= P_FIRSTDATAKEY(opaque))
            next = BTreeTupleGetDownLink(reinterpret_cast<IndexTuple>(PageGetItem(page, PageGetItemId(page, last))));
        UnlockReleaseBuffer(buffer);
        if (found) return block;
        block = next;
    }
    return InvalidBlockNumber;
}

// The last leaf, pinned and locked exclusively; InvalidBuffer where there is none. nbtree keeps its own guess at the
// last leaf in the relation's target block, under the same rules.
Buffer LockLastLeaf(Relation index) {
    for (const bool guess : {true, false}) {
        const BlockNumber block = guess ? RelationGetTargetBlock(index) : FindLastLeaf(index);
        if (block == InvalidBlockNumber) continue;
        Buffer buffer = ReadBuffer(index, block);
        LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
        _bt_checkpage(index, buffer);
        if (IsLastLeaf(BufferGetPage(buffer))) {
            RelationSetTargetBlock(index, block);
            return buffer;
        }
        UnlockReleaseBuffer(buffer);
    }
    return InvalidBuffer;
}

// Where the run goes: behind `after`, and how many of it before the next key that is there.
struct Position {
    OffsetNumber after;
    int count;
};

// The column is NOT NULL, but dead rows that are older than that may have left entries. They come last.
bool HasNulls(Page page, OffsetNumber off) {
    return IndexTupleHasNulls(reinterpret_cast<IndexTuple>(PageGetItem(page, PageGetItemId(page, off))));
}

// Leaf locked. A key above another one on the last leaf belongs on it, and can be on no other one. Nothing: this leaf
// can't take the first key, or it is there already.
std::optional<Position> PlaceOn(Page page, int64 first, int count) {
    const OffsetNumber lowest = P_FIRSTDATAKEY(BTPageGetOpaque(page));
    const OffsetNumber last = PageGetMaxOffsetNumber(page);
    if (last < lowest || HasNulls(page, last)) return std::nullopt;
    OffsetNumber after = last;
    while (after >= lowest && KeyAt(page, after) >= first) {
        if (last - after >= kMostBehind) return std::nullopt;
        after = OffsetNumberPrev(after);
    }
    if (after < lowest) return std::nullopt;
    if (after < last) count = static_cast<int>(std::min<int64>(count, KeyAt(page, OffsetNumberNext(after)) - first));
    count = std::min<int>(count, PageGetExactFreeSpace(page) / kEntryRoom);
    return count > 0 ? std::optional(Position{after, count}) : std::nullopt;
}

// A fragment of a generic record's delta: `length` bytes of the page, from `start` on.
struct Fragment {
    OffsetNumber start;
    OffsetNumber length;
};

void Register(Page page, const Fragment* fragment) {
    XLogRegisterBufData(0, reinterpret_cast<char*>(const_cast<Fragment*>(fragment)), sizeof(*fragment));
    XLogRegisterBufData(0, static_cast<char*>(page) + fragment->start, fragment->length);
}

// Leaf locked; there is room. One WAL record for all.
void Store(Relation index, Buffer buffer, const Position& position, int64 first, const HeapTuple* rows) {
    Page page = BufferGetPage(buffer);
    auto* header = reinterpret_cast<PageHeader>(page);
    const int count = position.count;
    const OffsetNumber moved = PageGetMaxOffsetNumber(page) - position.after;
    const bool logged = RelationNeedsWAL(index);

    START_CRIT_SECTION();
    // Line pointers are numbered from 1, so the one behind `after` has this place in the array.
    ItemIdData* pointers = &header->pd_linp[position.after];
    memmove(pointers + count, pointers, moved * sizeof(ItemIdData));
    for (int i = 0; i < count; i++) {
        header->pd_upper -= sizeof(Entry);
        auto* entry = reinterpret_cast<Entry*>(static_cast<char*>(page) + header->pd_upper);
        entry->head.t_tid = rows[i]->t_self;
        entry->head.t_info = sizeof(Entry);
        entry->key = first + i;
        ItemIdSetNormal(&pointers[i], header->pd_upper, sizeof(Entry));
    }
    header->pd_lower += count * sizeof(ItemIdData);
    MarkBufferDirty(buffer);
    if (logged) {
        const std::array<Fragment, 3> changed = {{
            {offsetof(PageHeaderData, pd_lower), 2 * sizeof(LocationIndex)},
            {static_cast<OffsetNumber>(reinterpret_cast<char*>(pointers) - static_cast<char*>(page)),
             static_cast<OffsetNumber>((count + moved) * sizeof(ItemIdData))},
            {header->pd_upper, static_cast<OffsetNumber>(count * sizeof(Entry))},
        }};
        static_assert(offsetof(PageHeaderData, pd_upper) == offsetof(PageHeaderData, pd_lower) + sizeof(LocationIndex));
        XLogBeginInsert();
        XLogRegisterBuffer(0, buffer, REGBUF_STANDARD);
        for (const Fragment& fragment : changed) Register(page, &fragment);
        const XLogRecPtr end = XLogInsert(RM_GENERIC_ID, 0);
        PageSetLSN(page, end);
    }
    END_CRIT_SECTION();
}

}  // namespace

int AppendToIndex(Relation index, int64 first, const HeapTuple* rows, int count) {
    if (!InPlaceAllowed()) return 0;
    Buffer buffer = LockLastLeaf(index);
    if (buffer == InvalidBuffer) return 0;
    const auto position = PlaceOn(BufferGetPage(buffer), first, count);
    if (position) {
        CheckForSerializableConflictIn(index, nullptr, BufferGetBlockNumber(buffer));
        Store(index, buffer, *position, first, rows);
    }
    UnlockReleaseBuffer(buffer);
    return position ? position->count : 0;
}

void InsertIntoIndex(Relation index, Datum* values, const ItemPointerData& row, Relation table,
                     IndexUniqueCheck check) {
    std::array<bool, INDEX_MAX_KEYS> nulls{};
    ItemPointerData tid = row;
    IndexInfo info{};  // a btree insert doesn't look at it
    info.type = T_IndexInfo;
    index_insert(index, values, nulls.data(), &tid, table, check, false, &info);
}

}  // namespace pgqueue::page
