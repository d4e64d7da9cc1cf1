// Steps of optimizers, and the norm of gradients: updates.cpp.
#pragma once
#include "list.h"

namespace firth {

// What one step of a parameter does, in the words of the page (python/firth/optim/updates.py);
// gradients are multiplied by factor first.
struct SgdStep {
    double factor, lr, momentum, share, weight_decay;  // buffer = momentum buffer + share g
    bool nesterov;
};
struct AdamStep {
    double factor, rate, beta1, beta2, root, eps;  // rate, root: corrected for the step's number
    double weight_decay, keep;                     // added to g, and what is left of p (AdamW)
};
struct AdagradStep {
    double factor, rate, eps, weight_decay;
};
struct RmspropStep {
    double factor, lr, momentum, alpha, eps, weight_decay;
};

}  // namespace firth

#define FIRTH_UPDATE_KERNELS(K, T, type) \
    K(void, sgd_step, type, (T * p, const T* g, T* buffer, size_t n, const SgdStep& step)) \
    K(void, adam_step, type, (T * p, const T* g, T* m, T* v, size_t n, const AdamStep& step)) \
    K(void, adagrad_step, type, (T * p, const T* g, T* sums, size_t n, const AdagradStep& step)) \
    K(void, rmsprop_step, type, \
      (T * p, const T* g, T* squares, T* means, T* buffer, size_t n, const RmspropStep& step)) \
    K(double, sum_of_squares, type, (const T* x, size_t n))

FIRTH_DECLARE_LIST(FIRTH_UPDATE_KERNELS(FIRTH_DECLARE_OF, float, f32)
                       FIRTH_UPDATE_KERNELS(FIRTH_DECLARE_OF, double, f64))
