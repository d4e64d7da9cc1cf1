#include "engines/search/filter_plan.h"

#include <algorithm>
#include <cstring>
#include <optional>

namespace firth::search {
namespace {

// Fewer than slots / kListShare are a list: to gather a row waits for memory, which a scan of codes
// does not. A query that is alone pays for the scan alone, so its list may be longer.
constexpr size_t kListShare = 32, kListShareAlone = 9;

// The slots of a bitmap in order, if there are fewer than `limit`.
std::optional<std::vector<int64_t>> few_slots(const SlotFilter& filter, size_t limit) {
    std::vector<int64_t> slots;
    for (size_t i = 0; i < filter.bytes && slots.size() < limit; i += 8) {
        uint64_t rest = 0;  // little-endian, as every platform is that there are wheels for
        std::memcpy(&rest, filter.bitmap + i, std::min<size_t>(8, filter.bytes - i));
        for (; rest; rest &= rest - 1)
            slots.push_back(static_cast<int64_t>(8 * i) + __builtin_ctzll(rest));
    }
    if (slots.size() >= limit) return std::nullopt;
    return slots;
}

}  // namespace

size_t slots_of(const std::vector<Segment>& segments) {
    size_t slots = 0;
    for (const Segment& segment : segments)
        slots = std::max(slots, segment.first_slot + segment.keys.rows);
    return slots;
}

FilterPlan::FilterPlan(const std::vector<SlotFilter>* given, size_t slots, bool alone) {
    if (!given) return;
    filters = *given;
    const size_t limit = slots / (alone ? kListShareAlone : kListShare) + 1;
    for (SlotFilter& filter : filters) {
        if (filter.bitmap) {
            filter.bytes = std::min(filter.bytes, (slots + 7) / 8);
            if (auto few = few_slots(filter, limit)) {
                lists_.push_back(std::move(*few));
                filter = {nullptr, 0, lists_.back().data(), lists_.back().size()};
            }
        } else if (filter.count >= limit) {
            bitmaps_.emplace_back((slots + 7) / 8);
            for (size_t i = 0; i < filter.count; i++) {
                const auto slot = static_cast<size_t>(filter.slots[i]);
                if (slot < slots) bitmaps_.back()[slot / 8] |= static_cast<uint8_t>(1 << slot % 8);
            }
            filter = {bitmaps_.back().data(), bitmaps_.back().size(), nullptr, 0};
        }
    }
}

}  // namespace firth::search
