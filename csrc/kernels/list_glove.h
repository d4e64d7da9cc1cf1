// Kernel of GloVe: glove_adagrad.cpp.
#pragma once
#include "list.h"

namespace firth {

// One co-occurrence as GloVe trains it: log x and f(x) are computed once.
struct GloveRecord {
    uint32_t row, column;
    float log_count, weight;
};

}  // namespace firth

#define FIRTH_GLOVE_KERNELS(K) \
    K(double, glove_adagrad_f32, \
      (float* words, size_t word_stride, size_t word_plane, float* contexts, \
       size_t context_stride, size_t context_plane, const GloveRecord* records, size_t n, \
       size_t dim, float rate, float clip))

FIRTH_DECLARE_LIST(FIRTH_GLOVE_KERNELS(FIRTH_DECLARE))
