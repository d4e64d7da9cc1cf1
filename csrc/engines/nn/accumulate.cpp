// in[0] += in[1]: a gradient that meets another one.
#include "engines/nn/operation.h"

namespace firth::nn {

bool accumulate_fits(const Call& c) {
    return c.ins == 2 && c.outs == 0 && c.saves == 0 && c.option_count == 0 && c.in[0] && c.in[1] &&
           c.in[0].kind == Kind::real && c.in[1].kind == Kind::real &&
           c.in[0].has_shape_of(c.in[1]);
}

template <class T>
void accumulate_forward(const Call& c) {
    T* to = c.in[0].as<T>();
    const T* from = c.in[1].as<T>();
    for_items(c, c.in[0].size(), 1, [=](size_t begin, size_t end) {
        for (size_t i = begin; i < end; i++) to[i] += from[i];
    });
}

template void accumulate_forward<float>(const Call&);
template void accumulate_forward<double>(const Call&);

}  // namespace firth::nn
