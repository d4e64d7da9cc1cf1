// Which ISA levels were compiled in and which of them this CPU runs. Compiled at the ABI floor.
#pragma once
#include "kernels.h"

namespace firth {

struct LevelState {
    const Kernels* kernels;
    const char* obstacle;  // why this machine does not run it, or null
};

// The compiled levels, best first, down to `base`; in builds for tests, those behind it that
// emulate others, which nothing chooses by itself. `count` receives their number.
const LevelState* levels(size_t* count);

// v4x with the way of multiplying bfloat16 that `levels` has not chosen for this vendor's CPUs, for
// tests; null where this CPU does not run v4x.
const Kernels* other_v4x();

// Whether the level multiplies bfloat16 faster than float32, and does not widen it to that.
bool bfloat16_is_fast(const Kernels& level);

// Asks the system for what a level that this machine runs needs beyond it: matrix tiles, for which
// a process must have permission (it then holds for all threads, and children of fork). To be
// called before the level runs for the first time; again costs nothing. Null where it is granted,
// or why not.
const char* request(const Kernels& level);

}  // namespace firth
