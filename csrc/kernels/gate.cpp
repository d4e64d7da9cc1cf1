// Gated linear units (Shazeer, arXiv:2002.05202): one projection's activation times another.
#include "../isa.h"
#include "list_transformer.h"

namespace firth::FIRTH_LEVEL {

// out = activation(gate) up. gate, up: rows x n, `stride` apart; out: rows x n, out_stride apart,
// may be one of them exactly; activation: a number of activations.h.
void gate_f32(const float* gate, const float* up, ptrdiff_t stride, float* out,
              ptrdiff_t out_stride, size_t rows, size_t n, int activation) {
    for (size_t r = 0; r < rows; r++) {
        const float *g = gate + (ptrdiff_t)r * stride, *u = up + (ptrdiff_t)r * stride;
        float* to = out + (ptrdiff_t)r * out_stride;
        for (size_t i = 0; i < n; i += kLanesF32) {
            const size_t count = n - i < kLanesF32 ? n - i : kLanesF32;
            const f32xN z = activate(load_up_to(g + i, count), activation, 0.0f);
            store_up_to(to + i, z * load_up_to(u + i, count), count);
        }
    }
}

}  // namespace firth::FIRTH_LEVEL
