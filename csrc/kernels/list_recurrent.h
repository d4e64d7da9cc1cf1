// Gates of recurrent networks and their gradients: recurrent.cpp.
#pragma once
#include "list.h"

namespace firth {

// One step of `rows` sequences of n states each. Arrays that hold all steps have the sequences of
// a step `apart` rows from each other; in the others, marked *, they are neighbours. A sequence
// whose length is t or less is over: its states stay, its y is 0. What a cell does not have is
// null.
template <class T>
struct RecurrentStep {
    size_t rows, n, apart;
    const int64_t* lengths;  // *; or null: none is over
    int64_t t;
    bool relu;               // of the RNN: else tanh
    T* gates;                // n for each gate: forward sums at first, then what comes of them
    const T* hidden;         // * forward, GRU: 3 n, h W_hh^T + b_hh
    T *h, *c;                // * forward: n, the states, of before the step and then after it
    T *h_before, *c_before;  // n: the states before the step
    T* inner;                // GRU: n, the last of `hidden`, which the reset gate multiplies
    T* y;                    // forward: n of y_width, the state h after the step
    const T* dy;             // backward, or null
    size_t y_width;
    T *dgates, *dhidden;  // backward: gradients by the sums; GRU: by `hidden`
    // * backward: n, gradients by the states after the step, and then before it; without what comes
    // to dh through the product with W_hh.
    T *dh, *dc;
};

}  // namespace firth

#define FIRTH_RECURRENT_KERNELS(K, T, type) \
    K(void, rnn_step, type, (const RecurrentStep<T>& step)) \
    K(void, rnn_step_backward, type, (const RecurrentStep<T>& step)) \
    K(void, gru_step, type, (const RecurrentStep<T>& step)) \
    K(void, gru_step_backward, type, (const RecurrentStep<T>& step)) \
    K(void, lstm_step, type, (const RecurrentStep<T>& step)) \
    K(void, lstm_step_backward, type, (const RecurrentStep<T>& step))

FIRTH_DECLARE_LIST(FIRTH_RECURRENT_KERNELS(FIRTH_DECLARE_OF, float, f32)
                       FIRTH_RECURRENT_KERNELS(FIRTH_DECLARE_OF, double, f64))
