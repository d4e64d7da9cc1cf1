#include "engines/search/id_map.h"

#include <algorithm>

namespace firth::search {

namespace {

constexpr size_t kAhead = 16;  // labels whose places are fetched in advance

}  // namespace

// The finaliser of MurmurHash3, then scaled to the table, so that its size may be any number.
size_t IdMap::home(int64_t label) const {
    auto h = static_cast<uint64_t>(label);
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdull;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53ull;
    h ^= h >> 33;
    return static_cast<size_t>(static_cast<unsigned __int128>(h) * places_.size() >> 64);
}

size_t IdMap::place_of(int64_t label) const {
    size_t place = home(label);
    while (places_[place].slot >= 0 && places_[place].label != label) place = next(place);
    return place;
}

void IdMap::resize(size_t places) {
    std::vector<Place> old(places, Place{0, -1});
    old.swap(places_);
    for (const Place& entry : old)
        if (entry.slot >= 0) places_[place_of(entry.label)] = entry;
}

void IdMap::set(const int64_t* labels, const int64_t* slots, size_t count, int64_t* previous) {
    const size_t wanted = (size_ + count) / 4 * 5 + 8;
    if (wanted > places_.size()) {
        // One large call gets what it needs; many small ones grow by half.
        const bool small = count < size_ / 4;
        resize(small ? std::max(wanted, places_.size() + places_.size() / 2) : wanted);
    }
    for (size_t i = 0; i < count; i++) {
        if (i + kAhead < count) __builtin_prefetch(&places_[home(labels[i + kAhead])], 1);
        Place& place = places_[place_of(labels[i])];
        previous[i] = place.slot;
        if (place.slot < 0) size_++;
        place = {labels[i], slots[i]};
    }
}

void IdMap::find(const int64_t* labels, size_t count, int64_t* slots) const {
    if (places_.empty()) {
        std::fill(slots, slots + count, -1);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (i + kAhead < count) __builtin_prefetch(&places_[home(labels[i + kAhead])]);
        slots[i] = places_[place_of(labels[i])].slot;
    }
}

void IdMap::remove(const int64_t* labels, size_t count) {
    if (places_.empty()) return;
    for (size_t i = 0; i < count; i++) {
        size_t hole = place_of(labels[i]);
        if (places_[hole].slot < 0) continue;
        size_--;
        // Entries behind the hole move into it unless they would come before their home.
        for (size_t place = next(hole); places_[place].slot >= 0; place = next(place)) {
            const size_t start = home(places_[place].label);
            const bool stays =
                hole <= place ? hole < start && start <= place : hole < start || start <= place;
            if (stays) continue;
            places_[hole] = places_[place];
            hole = place;
        }
        places_[hole].slot = -1;
    }
}

}  // namespace firth::search
