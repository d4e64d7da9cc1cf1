// The caches of this machine, for cuts of M and N: what sets the order of sums is a level's
// constant.
#pragma once
#include <stddef.h>

namespace firth {

// Bytes of the second-level cache that a core has for itself, from 256 KB to 4 MB. 1 MB where the
// processor does not say, or what it says is out of all reason, as in some virtual machines.
size_t l2_bytes();

// As if this machine had `bytes`, within these limits, for tests; 0: as it has.
void set_l2_bytes(size_t bytes);

}  // namespace firth
