// Which ISA levels were compiled in and which of them this CPU runs. Compiled at the ABI floor.
#pragma once
#include "kernels.h"

namespace firth {

// The usable levels, best first; the last is always `base`. `count` receives their number.
const Kernels* const* usable_levels(size_t* count);

// v4x with the way of multiplying bfloat16 that `usable_levels` has not chosen for this vendor's
// CPUs, for tests; null where this CPU does not run v4x.
const Kernels* other_v4x();

// The names of all compiled levels, best first, usable or not.
const char* const* compiled_levels(size_t* count);

}  // namespace firth
