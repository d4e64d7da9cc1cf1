// Walks over the opcodes of a pickle without running them, before Python's unpickler does, and
// refuses what would cost it memory or time without bound:
//
// - lengths beyond the data, and memo slots out of order: it makes room for either at once;
// - a tuple as a key of a dict or a member of a set, where it holds tuples or more than three
//   objects: a tuple is hashed anew each time, so that 40 nested ones, each with the one before it
//   twice, take hours. It is assumed that no callable which the pickle may name returns a tuple
//   (see formats/gensim.py);
// - integers of more than 1024 bytes or digits, which are hashed anew each time, too.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace firth::files {

// Place of the first opcode that is unknown, is refused as above or finds too few objects on
// the stack; `size` if the pickle has no end; -1 if it is well-formed.
int64_t scan_pickle(const char* data, size_t size);

}  // namespace firth::files
