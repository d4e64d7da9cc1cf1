// Arithmetic of sizes that several engines need.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace firth {

constexpr size_t divide_up(size_t value, size_t divisor) { return (value + divisor - 1) / divisor; }
constexpr size_t round_up(size_t value, size_t multiple) {
    return divide_up(value, multiple) * multiple;
}
// a * b, or the greatest size where that would overflow: no memory has so many bytes. (A broadcast
// array has any shape.)
inline size_t product(size_t a, size_t b) {
    size_t result;
    return __builtin_mul_overflow(a, b, &result) ? SIZE_MAX : result;
}

}  // namespace firth
