// Rows as signed bytes, and how far these are from the rows: python/firth/kernels/byte_codes.py
// tells what the numbers are for. In float64: the bounds must hold, and coding is a small part of a
// search's cost.
#include "../isa.h"
#include "list_search.h"

namespace firth::FIRTH_LEVEL {

namespace {

constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer
constexpr size_t kLine = 64;  // elements whose codes are put in their places at once
constexpr float kInfinity = __builtin_inff();

}  // namespace

// Elements [i, i + kLanesF64) of a row of n minus those of the centre; zeros from n up.
FIRTH_INLINE f64xN centred(const float* row, const float* centre, size_t i, size_t n, f64xN unit) {
    if (i + kLanesF64 <= n) return load_f64(row + i) * unit - load_f64(centre + i);
    return load_f64_partial(row + i, n - i) * unit - load_f64_partial(centre + i, n - i);
}

FIRTH_INLINE float round_up(double x) {
    const float near = (float)x;
    return (double)near < x ? near + __builtin_fabsf(near) * 0x1p-22f + 0x1p-149f : near;
}

// One row. unit: what it is multiplied with; codes: where its unit 0 goes, units 128 bytes apart.
FIRTH_INLINE void code_row(const float* row, size_t n, int metric, double unit, const float* centre,
                           double slack, uint8_t* codes, float* scale_out, float* bias_out,
                           float* bound_out) {
    const f64xN units = set1(unit);
    f64xN most = set1(0.0);
    for (size_t i = 0; i < n; i += kLanesF64) {
        const f64xN y = centred(row, centre, i, n, units);
        most = max(most, max(y, -y));
    }
    float scale = round_up(max_lane(most) / 127);
    if (!(scale >= 0x1p-120f)) scale = 0;  // too small to divide by: all codes 0
    const f64xN step = set1((double)scale), inverse = set1(scale > 0 ? 1 / (double)scale : 0.0),
                magic = set1(kMagic);
    f64xN rest = set1(0.0), length = set1(0.0), centre_product = set1(0.0);
    for (size_t first = 0; first < n; first += kLine) {
        const size_t end = first + kLine < n ? first + kLine : n;
        uint8_t line[kLine];
        memset(line, 128, sizeof line);
        for (size_t i = first; i < end; i += kLanesF64) {
            const f64xN y = centred(row, centre, i, n, units);
            const f64xN shifted = fma(y, inverse, magic);
            const f64xN error = y - (shifted - magic) * step;
            rest = fma(error, error, rest);
            length = fma(y, y, length);
            const f64xN m =
                i + kLanesF64 <= n ? load_f64(centre + i) : load_f64_partial(centre + i, n - i);
            centre_product = fma(y, m, centre_product);
            // The low byte of the shifted number is the code, two's complement; 128 more is its
            // highest bit flipped. Lanes from n up are zeros, so their codes are 128.
            store_low_bytes(line + (i - first), (i64xN)shifted ^ 128);
        }
        for (size_t i = first; i < end; i += 4)
            memcpy(codes + i * kCodeBlock, line + (i - first), 4);
    }
    const double residual = sqrt(set1(sum(rest)))[0], norm = sqrt(set1(sum(length)))[0];
    const double bias = metric == kL2 ? -0.5 * norm * norm : sum(centre_product);
    // Beyond these the arithmetic of the scan could overflow: always a hit.
    if (norm > 0x1p36 || bias > 0x1p80 || bias < -0x1p80) {
        *scale_out = *bias_out = 0;
        *bound_out = kInfinity;
        return;
    }
    *scale_out = scale;
    *bias_out = round_up(bias + 0x1p-20 * (bias < 0 ? -bias : bias) + slack * norm);
    *bound_out = round_up((1 + 0x1p-18) * (residual + kQueryError * norm) + 0x1p-19 * norm + slack);
}

// keys: 32 rows of n, row r at keys + r * stride, finite; rows: how many of them there are (others
// never pass a scan); centre: n; slack: 2^-48 times its norm; codes: units x 32 x 4; bounds: 3
// x 32.
void code_rows_f32(const float* keys, ptrdiff_t stride, size_t rows, size_t n, int metric,
                   const float* centre, double slack, uint8_t* codes, float* bounds) {
    for (size_t r = 0; r < kCodeBlock; r++) {
        float *scale = bounds + r, *bias = scale + kCodeBlock, *bound = bias + kCodeBlock;
        if (r >= rows) {
            for (size_t i = 0; i < (n + 3) / 4 * 4; i++)
                codes[(i / 4 * kCodeBlock + r) * 4 + i % 4] = 128;
            *scale = *bias = 0;
            *bound = __builtin_nanf("");
            continue;
        }
        const float* row = keys + (ptrdiff_t)r * stride;
        double unit = 1;
        if (metric == kCosine) {
            f64xN squares = set1(0.0);
            for (size_t i = 0; i < n; i += kLanesF64) {
                const f64xN x =
                    i + kLanesF64 <= n ? load_f64(row + i) : load_f64_partial(row + i, n - i);
                squares = fma(x, x, squares);
            }
            const double norm = sqrt(set1(sum(squares)))[0];
            unit = norm > 0 ? 1 / norm : 0;
        }
        code_row(row, n, metric, unit, centre, slack, codes + r * 4, scale, bias, bound);
    }
}

}  // namespace firth::FIRTH_LEVEL
