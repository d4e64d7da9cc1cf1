// A hash table from int64 labels to int64 slots: for ids of firth.Index that do not follow
// from the place of a row. Open addressing with linear probing and no tombstones, 16 bytes a place,
// at most 4/5 full: 20 bytes an entry after one large `set`, at most 30 after many small ones.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <vector>

namespace firth::search {

class IdMap {
  public:
    // For i in [0, count), in this order: previous[i] = the slot of labels[i], -1 without one;
    // then its slot becomes slots[i] >= 0.
    void set(const int64_t* labels, const int64_t* slots, size_t count, int64_t* previous);

    // slots[i] = the slot of labels[i], or -1.
    void find(const int64_t* labels, size_t count, int64_t* slots) const;

    // Unknown labels are ignored.
    void remove(const int64_t* labels, size_t count);

    size_t size() const { return size_; }
    size_t bytes() const { return places_.size() * sizeof(Place); }

  private:
    struct Place {
        int64_t label, slot;  // slot -1: empty
    };
    std::vector<Place> places_;
    size_t size_ = 0;

    size_t home(int64_t label) const;  // where the search for a label begins
    size_t next(size_t place) const { return place + 1 == places_.size() ? 0 : place + 1; }
    size_t place_of(int64_t label) const;  // of the label, or the empty place where it belongs
    void resize(size_t places);
};

}  // namespace firth::search
