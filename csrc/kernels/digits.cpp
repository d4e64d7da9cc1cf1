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

// x: n numbers of a block, n <= 32; codes: D x 8 units; numbers: kDigitNumbers. M = 127 or 8127:
//   most = max |x|, s = most / M (0 where most < 2^-100), V = nearest_even(x (M / most)),
//   H = (V + 64) >> 7, L = V - 128 H.
// A block that is not finite: s NaN, digits 0.
template <size_t D>
FIRTH_INLINE void digits(const float* x, size_t n, int32_t* codes, float* numbers) {
    constexpr float greatest = kMost[D - 1];
    f32xN v[kVectors];
    f32xN most = set1(0.0f), flaws = most;
#pragma GCC unroll 8
    for (size_t i = 0; i < kVectors; i++) {
        const size_t first = i * kLanesF32;
        v[i] = first + kLanesF32 <= n ? load(x + first)
               : first < n            ? load_partial(x + first, n - first)
                                      : set1(0.0f);
        most = max(most, max(v[i], -v[i]));
        flaws += v[i] * 0.0f;
    }
    const float top = max_lane(most), flaw = sum(flaws);
    const bool odd = flaw != flaw;
    const float inverse = odd || top < kLeast ? 0.0f : greatest / top;
    const float scale = odd ? __builtin_nanf("") : top < kLeast ? 0.0f : top / greatest;
    alignas(64) int8_t high[kDigitBlock], low[kDigitBlock];
    f32xN sums[2] = {set1(0.0f), set1(0.0f)};  // of the halves; whole numbers, so exact
#pragma GCC unroll 8
    for (size_t i = 0; i < kVectors; i++) {
        const f32xN finite = odd ? set1(0.0f) : v[i];
        const i32xN whole = (i32xN)(finite * set1(inverse) + set1(kMagic)) - (i32xN)set1(kMagic);
        const i32xN upper = D == 2 ? (whole + 64) >> 7 : whole;
        store_low_bytes((uint8_t*)high + i * kLanesF32, upper);
        if (D == 2) store_low_bytes((uint8_t*)low + i * kLanesF32, whole - (upper << 7));
        sums[2 * i / kVectors] += to_f32(whole);
    }
    for (size_t u = 0; u < kDigitBlock / 4; u++) {
        store_code(high + 4 * u, codes + u * kCodeWords);
        if (D == 2) store_code(low + 4 * u, codes + (kDigitBlock / 4 + u) * kCodeWords);
    }
    numbers[0] = scale;
    numbers[1] = scale * sum(sums[0] + sums[1]);
    numbers[2] = scale * sum(sums[0]);
    numbers[3] = scale * sum(sums[1]);
}

template <size_t D>
FIRTH_INLINE void rows_of(const float* x, ptrdiff_t stride, size_t tokens, size_t n, int32_t* codes,
                          float* numbers) {
    constexpr size_t words = D * kDigitBlock / 4 * kCodeWords;
    const size_t blocks = (n + kDigitBlock - 1) / kDigitBlock;
    for (size_t b = 0; b < blocks; b++)
        for (size_t t = 0; t < tokens; t++) {
            const size_t first = b * kDigitBlock, at = b * tokens + t;
            digits<D>(x + (ptrdiff_t)t * stride + first,
                      n - first < kDigitBlock ? n - first : kDigitBlock, codes + at * words,
                      numbers + at * kDigitNumbers);
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
