// Rows of float32 as two digits of 7 bits, or one of 8, and a scale for each 32 numbers:
// list_blocks.h says what for. IEEE operations in a fixed sequence, without fma: the same bits on
// every level.
#include "../isa.h"
#include "list_blocks.h"

namespace firth::FIRTH_LEVEL {

namespace {

constexpr float kMagic = 12582912.0f;         // 1.5 2^23: adding it rounds to an integer
constexpr float kMost[] = {127.0f, 8127.0f};  // of one digit, and of two: 63 * 128 + 63
constexpr float kLeast = 0x1p-100f;  // blocks below it are zeros: their scales have no inverse
constexpr size_t kVectors = kDigitBlock / kLanesF32;

}  // namespace

// A vector of a block that has n numbers, from number `first` on; 0 behind them.
FIRTH_INLINE f32xN part(const float* x, size_t first, size_t n) {
    return first + kLanesF32 <= n ? load(x + first)
           : first < n            ? load_partial(x + first, n - first)
                                  : set1(0.0f);
}

// Blocks of a token, as many as a vector has lanes. x: n numbers; codes: D x 8 units a block,
// code_stride apart; numbers: kDigitNumbers a block, number_stride apart. M = 127 or 8127:
//   most = max |x|, s = most / M (0 where most < 2^-100), V = nearest_even(x (M / most)),
//   H = (V + 64) >> 7, L = V - 128 H.
// A block that is not finite: s NaN, digits 0.
template <size_t D>
FIRTH_INLINE void digits(const float* x, size_t n, int32_t* codes, size_t code_stride,
                         float* numbers, size_t number_stride) {
    constexpr size_t lanes = kLanesF32;
    const f32xN greatest = set1(kMost[D - 1]), zero = set1(0.0f);
    const size_t count = (n + kDigitBlock - 1) / kDigitBlock;
    const auto numbers_of = [&](size_t b) {
        return n - b * kDigitBlock < kDigitBlock ? n - b * kDigitBlock : kDigitBlock;
    };
    const auto larger = [](f32xN p, f32xN q) { return max(p, q); };
    const auto added = [](f32xN p, f32xN q) { return p + q; };
    f32xN first[lanes], second[lanes];
    for (size_t b = 0; b < lanes; b++) {
        f32xN most = zero, flaws = zero;
        if (b < count)
#pragma GCC unroll 8
            for (size_t i = 0; i < kVectors; i++) {
                const f32xN v = part(x + b * kDigitBlock, i * lanes, numbers_of(b));
                most = max(most, max(v, -v));
                flaws += v * zero;
            }
        first[b] = most, second[b] = flaws;
    }
    const f32xN top = reduce_each(first, float(), larger);
    const f32xN flaw = reduce_each(second, float(), added);
    float flawed[lanes], inverses[lanes], scales[lanes], sums[2][lanes];
    store(flawed, flaw);
    store(inverses, top < set1(kLeast) ? zero : greatest / top);
    store(scales, flaw != flaw ? flaw : top < set1(kLeast) ? zero : top / greatest);
    for (size_t b = 0; b < lanes; b++) {
        f32xN half[2] = {zero, zero};  // sums; of whole numbers, so exact
        if (b < count) {
            alignas(64) int8_t high[kDigitBlock], low[kDigitBlock];
            const bool odd = flawed[b] != flawed[b];
            const f32xN inverse = set1(inverses[b]);
#pragma GCC unroll 8
            for (size_t i = 0; i < kVectors; i++) {
                const f32xN v = part(x + b * kDigitBlock, i * lanes, numbers_of(b));
                const f32xN scaled = odd ? zero : v * inverse;
                const i32xN whole = (i32xN)(scaled + set1(kMagic)) - (i32xN)set1(kMagic);
                const i32xN upper = D == 2 ? (whole + 64) >> 7 : whole;
                store_low_bytes((uint8_t*)high + i * lanes, upper);
                if (D == 2) store_low_bytes((uint8_t*)low + i * lanes, whole - (upper << 7));
                half[2 * i / kVectors] += to_f32(whole);
            }
            int32_t* to = codes + b * code_stride;
            for (size_t u = 0; u < kDigitBlock / 4; u++) {
                store_code(high + 4 * u, to + u * kCodeWords);
                if (D == 2) store_code(low + 4 * u, to + (kDigitBlock / 4 + u) * kCodeWords);
            }
        }
        first[b] = half[0], second[b] = half[1];
    }
    store(sums[0], reduce_each(first, float(), added));
    store(sums[1], reduce_each(second, float(), added));
    for (size_t b = 0; b < count; b++) {
        float* to = numbers + b * number_stride;
        to[0] = scales[b];
        to[1] = scales[b] * (sums[0][b] + sums[1][b]);
        to[2] = scales[b] * sums[0][b];
        to[3] = scales[b] * sums[1][b];
    }
}

template <size_t D>
FIRTH_INLINE void rows_of(const float* x, ptrdiff_t stride, size_t tokens, size_t n, int32_t* codes,
                          float* numbers) {
    constexpr size_t words = D * kDigitBlock / 4 * kCodeWords, group = kLanesF32 * kDigitBlock;
    for (size_t first = 0; first < n; first += group)
        for (size_t t = 0; t < tokens; t++) {
            const size_t at = first / kDigitBlock * tokens + t;
            digits<D>(x + (ptrdiff_t)t * stride + first, n - first < group ? n - first : group,
                      codes + at * words, tokens * words, numbers + at * kDigitNumbers,
                      tokens * kDigitNumbers);
        }
}

// x: tokens x n, `stride` apart, tokens <= kDigitTokens; codes, numbers: a tile (DigitTile) of
// n rounded up to 32.
void digit_rows(const float* x, ptrdiff_t stride, size_t tokens, size_t n, size_t digits,
                int32_t* codes, float* numbers) {
    if (digits == 2)
        rows_of<2>(x, stride, tokens, n, codes, numbers);
    else
        rows_of<1>(x, stride, tokens, n, codes, numbers);
}

}  // namespace firth::FIRTH_LEVEL
