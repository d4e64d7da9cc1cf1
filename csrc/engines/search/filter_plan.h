// Filters in the form that suits how much they allow: few slots as a list, to be gathered, many as
// a bitmap, which is read for rows that pass the scan.
#pragma once
#include <vector>

#include "engines/search/search.h"

namespace firth::search {

size_t slots_of(const std::vector<Segment>& segments);

class FilterPlan {
  public:
    // given: of the request, or null; alone: nothing shares the cost of a scan of all codes
    FilterPlan(const std::vector<SlotFilter>* given, size_t slots, bool alone);

    std::vector<SlotFilter> filters;  // some of them look at what the plan holds

  private:
    std::vector<std::vector<int64_t>> lists_;
    std::vector<std::vector<uint8_t>> bitmaps_;
};

}  // namespace firth::search
