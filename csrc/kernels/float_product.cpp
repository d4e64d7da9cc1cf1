// Products of float32 inputs with weights in float32, float16 or bfloat16, widened in registers:
// for generators, whose few tokens wait for the weights anyway.
//
// Panels: kPanelRows rows of weights, [k][row]. Every sum is in the order of K, in one register:
// the bits of a token's result do not depend on the tokens beside it.
#include "../isa.h"
#include "list_blocks.h"

namespace firth::FIRTH_LEVEL {

namespace {

constexpr size_t kTile = kRegisters == 32 ? 8 : 4;  // tokens at once

template <size_t n>
struct Size {
    static constexpr size_t value = n;
};

FIRTH_INLINE f32xN widened(const float* p) { return load(p); }
FIRTH_INLINE f32xN widened(const uint16_t* p) { return load_f16(p); }
struct Bf16 {
    uint16_t bits;
};
FIRTH_INLINE f32xN widened(const Bf16* p) { return load_bf16(&p->bits); }

}  // namespace

template <class W, size_t T, size_t P>
FIRTH_INLINE void tokens_of_panels(const W* panel, size_t panel_elements, size_t rows, size_t n,
                                   const float* x, ptrdiff_t x_stride, float* out,
                                   ptrdiff_t stride) {
    // P panels at once, where one alone would wait for its sums.
    for (size_t lane = 0; lane < kPanelRows && lane < rows; lane += kLanesF32) {
        f32xN sums[P][T];
#pragma GCC unroll 4
        for (size_t p = 0; p < P; p++)
#pragma GCC unroll 8
            for (size_t t = 0; t < T; t++) sums[p][t] = set1(0.0f);
        for (size_t k = 0; k < n; k++) {
#pragma GCC unroll 4
            for (size_t p = 0; p < P; p++) {
                const f32xN w = widened(panel + p * panel_elements + k * kPanelRows + lane);
#pragma GCC unroll 8
                for (size_t t = 0; t < T; t++)
                    sums[p][t] =
                        fma(w, set1(x[(ptrdiff_t)t * x_stride + (ptrdiff_t)k]), sums[p][t]);
            }
        }
#pragma GCC unroll 4
        for (size_t p = 0; p < P; p++) {
            const size_t at = p * kPanelRows + lane;
            if (at >= rows) continue;
            const size_t count = rows - at < kLanesF32 ? rows - at : kLanesF32;
#pragma GCC unroll 8
            for (size_t t = 0; t < T; t++)
                store_up_to(out + (ptrdiff_t)t * stride + at, sums[p][t], count);
        }
    }
}

template <class W>
FIRTH_INLINE void product(const void* data, size_t rows, size_t n, const float* x,
                          ptrdiff_t x_stride, size_t tokens, float* out, ptrdiff_t stride) {
    const W* panels = (const W*)data;
    const size_t elements = n * kPanelRows;
    size_t t = 0;
    const auto go = [&](auto tile, auto at_once) {
        constexpr size_t T = decltype(tile)::value, P = decltype(at_once)::value;
        const float* from = x + (ptrdiff_t)t * x_stride;
        float* to = out + (ptrdiff_t)t * stride;
        size_t r = 0;
        for (; r + P * kPanelRows <= rows; r += P * kPanelRows)
            tokens_of_panels<W, T, P>(panels + r * n, elements, P * kPanelRows, n, from, x_stride,
                                      to + r, stride);
        for (; r < rows; r += kPanelRows)
            tokens_of_panels<W, T, 1>(panels + r * n, elements,
                                      rows - r < kPanelRows ? rows - r : kPanelRows, n, from,
                                      x_stride, to + r, stride);
        t += T;
    };
    while (t + kTile <= tokens) go(Size<kTile>(), Size<1>());
    if constexpr (kTile > 4)
        if (t + 4 <= tokens) go(Size<4>(), Size<2>());
    if (t + 2 <= tokens) go(Size<2>(), Size<2>());
    if (t < tokens) go(Size<1>(), Size<4>());
}

// panels: of `rows` rows, the last one padded, of n numbers: float32 (kind 0), float16 (1) or
// bfloat16 (2); x: tokens x n; out: tokens x rows.
void float_product(const void* panels, size_t rows, size_t n, int kind, const float* x,
                   ptrdiff_t x_stride, size_t tokens, float* out, ptrdiff_t stride) {
    if (kind == 0)
        product<float>(panels, rows, n, x, x_stride, tokens, out, stride);
    else if (kind == 1)
        product<uint16_t>(panels, rows, n, x, x_stride, tokens, out, stride);
    else
        product<Bf16>(panels, rows, n, x, x_stride, tokens, out, stride);
}

}  // namespace firth::FIRTH_LEVEL
