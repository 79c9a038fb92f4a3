#include "pgqueue/page/inplace.hpp"

namespace pgqueue::page {
namespace {

// A fragment of a generic WAL record's delta, as applyPageRedo() in generic_xlog.c reads it.
constexpr int kFragmentHeader = 2 * sizeof(OffsetNumber);
constexpr int kMaxFieldBytes = NAMEDATALEN;

}  // namespace

bool InPlaceAllowed() {
    return likely(wal_consistency_checking == nullptr || !wal_consistency_checking[RM_GENERIC_ID]);
}

void RequireInPlaceAllowed() {
    if (InPlaceAllowed()) return;
    ereport(ERROR,
            (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
             errmsg("pgqueue can't change rows in place while \"wal_consistency_checking\" covers generic records"),
             errhint("Remove \"generic\" or \"all\" from \"wal_consistency_checking\".")));
}

InPlaceWriter::InPlaceWriter(int max_changes) {
    changes_.reserve(max_changes);
    delta_.reserve(max_changes * (kFragmentHeader + kMaxFieldBytes));
}

void InPlaceWriter::Set(void* target, const void* bytes, uint16 length) {
    Assert(changes_.size() < changes_.capacity());
    Assert(length <= kMaxFieldBytes);
    changes_.push_back({static_cast<char*>(target), bytes, length});
}

XLogRecPtr InPlaceWriter::Apply(Relation rel, Buffer buffer) {
    if (changes_.empty()) return InvalidXLogRecPtr;
    Page page = BufferGetPage(buffer);
    const bool logged = RelationNeedsWAL(rel);
    XLogRecPtr end = InvalidXLogRecPtr;
    delta_.clear();
    if (logged) {
        for (const Change& change : changes_) {
            const auto offset = static_cast<OffsetNumber>(change.target - static_cast<char*>(page));
            const OffsetNumber length = change.length;
            const std::size_t at = delta_.size();
            delta_.resize(at + kFragmentHeader + length);
            memcpy(&delta_[at], &offset, sizeof(offset));
            memcpy(&delta_[at + sizeof(offset)], &length, sizeof(length));
            memcpy(&delta_[at + kFragmentHeader], change.bytes, length);
        }
    }

    START_CRIT_SECTION();
    for (const Change& change : changes_) memcpy(change.target, change.bytes, change.length);
    MarkBufferDirty(buffer);
    if (logged) {
        XLogBeginInsert();
        XLogRegisterBuffer(0, buffer, REGBUF_STANDARD);
        XLogRegisterBufData(0, delta_.data(), static_cast<uint32>(delta_.size()));
        end = XLogInsert(RM_GENERIC_ID, 0);
        PageSetLSN(page, end);
    }
    END_CRIT_SECTION();
    changes_.clear();
    return end;
}

}  // namespace pgqueue::page
