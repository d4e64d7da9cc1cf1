// Arithmetic of sizes that several engines need.
#pragma once
#include <stddef.h>

namespace firth {

constexpr size_t divide_up(size_t value, size_t divisor) { return (value + divisor - 1) / divisor; }
constexpr size_t round_up(size_t value, size_t multiple) {
    return divide_up(value, multiple) * multiple;
}

}  // namespace firth
