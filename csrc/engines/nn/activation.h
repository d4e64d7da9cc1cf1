// Activations of whole arrays, for operations that end with one.
#pragma once
#include "activations.h"
#include "engines/nn/operation.h"

namespace firth::nn {

constexpr double kActivationCost = 4;  // of an element, in operations of for_items

inline bool is_activation(double option) {
    return option >= kNone && option <= kStep && option != kGeluNear && option == int(option);
}
// Whether backward reads y = f(x), and not x.
inline bool reads_result(int activation) {
    return activation == kNone || activation == kRelu || activation == kTanh ||
           activation == kSigmoid || activation == kStep;
}

// y = f(x) for n elements; y may be x.
template <class T>
void activate(const Call& call, const T* x, T* y, size_t n, int activation, double slope);

// dx = or += dy f'(x); x or y may be null where it is not read. dx may be dy.
template <class T>
void activate_backward(const Call& call, const T* dy, const T* x, const T* y, T* dx, size_t n,
                       int activation, double slope, bool add);

}  // namespace firth::nn
