// A stack of layers as Python holds it, and checks that its bindings share.
#pragma once
#include "bindings.h"
#include "engines/transformer/run.h"

namespace firth {

// A stack, and the arrays that it reads where Python has them.
struct StackObject {
    transformer::Stack stack;
    std::vector<py::object> kept;
};

// ValueError unless there are n ids, each in [0, below).
void check_ids(const array<int32_t>& ids, size_t n, size_t below, const char* name);

// How many positions a text may have.
size_t places_of(const transformer::Stack& stack);

}  // namespace firth
