// Walks over the opcodes of a pickle without running them, so that what runs them afterwards is
// spared lengths beyond the data and memo slots by the billion, for which Python's unpickler makes
// room at once.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace firth {

// Where the first opcode stands that is unknown, reaches beyond the data or asks for a memo slot
// beyond the data's length; `size` if the pickle has no end; -1 if it is well-formed.
int64_t scan_pickle(const char* data, size_t size);

}  // namespace firth
