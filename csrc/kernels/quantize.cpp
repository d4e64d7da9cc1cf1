// Rows of float32 as bytes and a scale, for products of bytes: python/firth/kernels/quantize.py
// says what the numbers are for. IEEE operations in a fixed sequence, without fma, and minima,
// maxima and sums of integers, which no order changes: the same bits on every level.
#include "../isa.h"
#include "list_transformer.h"

namespace firth::FIRTH_LEVEL {

namespace {

constexpr float kMagic = 12582912.0f;  // 1.5 2^23: adding it rounds to an integer
constexpr float kLeast = 0x1p-126f;    // scales below it have no inverse

}  // namespace

// Whether no lane is NaN: flaws is a sum of 0 times numbers, of which NaN and inf leave NaN.
FIRTH_INLINE bool all_zero(f32xN flaws) {
    const float total = sum(flaws);
    return total == total;
}

// codes = nearest_even((x - low) inverse) of a row of n, which must fit a byte; returns their sum.
FIRTH_INLINE int32_t code_row(const float* x, size_t n, float low, float inverse, void* codes) {
    const f32xN lows = set1(low), inverses = set1(inverse), magic = set1(kMagic);
    uint8_t* to = (uint8_t*)codes;
    i32xN sums = set1((int32_t)0);
    size_t i = 0;
    for (; i + kLanesF32 <= n; i += kLanesF32) {
        const i32xN whole = (i32xN)((load(x + i) - lows) * inverses + magic) - (i32xN)magic;
        sums += whole;
        store_low_bytes(to + i, whole);
    }
    if (i < n) {
        const f32xN v = load_partial(x + i, n - i, low);
        const i32xN whole = (i32xN)((v - lows) * inverses + magic) - (i32xN)magic;
        sums += whole;
        uint8_t bytes[kLanesF32];
        store_low_bytes(bytes, whole);
        memcpy(to + i, bytes, n - i);
    }
    int32_t total = 0;
    for (size_t l = 0; l < kLanesF32; l++) total += sums[l];
    return total;
}

// x: rows x n, `stride` apart; codes: rows x n, contiguous; scales, offsets: rows; sums: of the
// codes of each row, or null. Row by row
//   low = min(x) + 0, range = max(x) - low, scale = range / 255 (0 where below 2^-126);
//   offset = low, code = nearest_even((x - low) * (1 / scale)) (0 where the scale is 0).
// (1 / scale) range exceeds 255 by three roundings at most, so that no code does. A row that is not
// finite, or whose range is not: scale and offset NaN, codes 0.
void quantize_rows(const float* x, ptrdiff_t stride, size_t rows, size_t n, uint8_t* codes,
                   float* scales, float* offsets, int32_t* sums) {
    for (size_t r = 0; r < rows; r++) {
        const float* row = x + (ptrdiff_t)r * stride;
        uint8_t* to = codes + r * n;
        f32xN least = set1(n ? row[0] : 0), most = least, flaws = set1(0.0f);
        const auto look = [&](f32xN v) {
            least = min(least, v);
            most = max(most, v);
            flaws += v * set1(0.0f);
        };
        size_t i = 0;
        for (; i + kLanesF32 <= n; i += kLanesF32) look(load(row + i));
        if (i < n) look(load_partial(row + i, n - i, row[0]));
        const float low = -max_lane(-least) + 0.0f;  // + 0: whether it is -0 depends on the order
        const float range = max_lane(most) - low;
        float scale = range / 255.0f;
        if (!all_zero(flaws + set1(range * 0.0f))) {
            scales[r] = offsets[r] = __builtin_nanf("");
            if (sums) sums[r] = 0;
            memset(to, 0, n);
            continue;
        }
        if (scale < kLeast) scale = 0;
        scales[r] = scale;
        offsets[r] = low;
        const int32_t sum = code_row(row, n, low, scale > 0 ? 1.0f / scale : 0.0f, to);
        if (sums) sums[r] = sum;
    }
}

// w: rows x n, `stride` apart; codes: rows x n, contiguous; scales, sums: rows. Row by row
//   scale = max |w| / 127 (0 where below 2^-126), code = nearest_even(w * (1 / scale)),
//   sum = the sum of the codes, an integer (exact to 2^24).
// A row that is not finite: scale NaN, codes and sum 0.
void quantize_weights(const float* w, ptrdiff_t stride, size_t rows, size_t n, int8_t* codes,
                      float* scales, float* sums) {
    for (size_t r = 0; r < rows; r++) {
        const float* row = w + (ptrdiff_t)r * stride;
        int8_t* to = codes + r * n;
        f32xN most = set1(0.0f), flaws = set1(0.0f);
        for (size_t i = 0; i < n; i += kLanesF32) {
            const size_t count = n - i < kLanesF32 ? n - i : kLanesF32;
            const f32xN v = load_up_to(row + i, count);
            most = max(most, max(v, -v));
            flaws += v * set1(0.0f);
        }
        float scale = max_lane(most) / 127.0f;
        if (!all_zero(flaws)) {
            scales[r] = __builtin_nanf("");
            sums[r] = 0;
            memset(to, 0, n);
            continue;
        }
        if (scale < kLeast) scale = 0;
        scales[r] = scale;
        sums[r] = (float)code_row(row, n, 0.0f, scale > 0 ? 1.0f / scale : 0.0f, to);
    }
}

}  // namespace firth::FIRTH_LEVEL
