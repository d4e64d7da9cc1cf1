// Which ISA levels were compiled in and which of them this CPU runs. Compiled at the ABI floor.
#pragma once
#include "kernels.h"

namespace firth {

// The usable levels, best first; the last is always `base`. `count` receives their number.
const Kernels* const* usable_levels(size_t* count);

// The names of all compiled levels, best first, usable or not.
const char* const* compiled_levels(size_t* count);

}  // namespace firth
