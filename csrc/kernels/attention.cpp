// Attention between the two matrix products: softmax over a block of scores, and the final
// division.
//
// Everything is transposed: scores and weights are (keys, queries) panels of kColumns queries,
// the output is (values, queries). A query is a lane, so that maxima, sums and rescaling need no
// horizontal step, and the panel of weights is at once the packed right operand of weights x
// values.
//
// Online softmax (Milakov and Gimelshein, arXiv:1805.02867; Dao et al., arXiv:2205.14135), with
// powers of 2. A lane's reference moves only when its maximum grew by more than
// kSlack, so most blocks need no rescaling; weights then reach 2^kSlack, which loses no bits.
#include "../isa.h"
#include "list_attention.h"

namespace firth::FIRTH_LEVEL {

namespace {
typedef uint32_t u32xN __attribute__((vector_size(FIRTH_VECTOR_BYTES)));
constexpr float kSlack = 8.0f;
constexpr size_t kColumns = kGemmColumns<float>;
constexpr size_t kHalves = 2;  // registers that hold a row of a panel
static_assert(kColumns == kHalves * kLanesF32, "a panel is two registers wide");
}  // namespace

FIRTH_INLINE f32xN magnitude(f32xN v) { return (f32xN)((i32xN)v & 0x7fffffff); }

// Masks scores in place: key row r keeps the lanes i with i + diagonal >= r. scores, mask: keys x
// kColumns. An additive mask brings the scores to natural units, scale * score + mask, which
// holds any finite mask; one of 0 and -inf leaves what it keeps bit for bit, so that padding
// changes nothing. Masked scores are replaced, whatever they were: -inf.
// best: the maxima of each lane; biggest: raised to the largest magnitude that is kept.
FIRTH_INLINE void mask_scores(float* scores, size_t keys, float scale, const float* mask,
                              bool additive, ptrdiff_t diagonal, f32xN* best, f32xN* biggest) {
    const f32xN of_scores = set1(scale), infinite = set1(-__builtin_inff());
    const size_t seen = diagonal < 0 ? 0 : (size_t)diagonal + 1;  // by all lanes
    const size_t whole = mask ? 0 : seen < keys ? seen : keys;
    for (size_t r = 0; r < whole; r++)
        for (size_t h = 0; h < kHalves; h++) {
            const f32xN s = load(scores + r * kColumns + h * kLanesF32);
            best[h] = max(s, best[h]);
            biggest[h] = max(magnitude(s), biggest[h]);
        }
    int32_t lane_numbers[kLanesF32];
    for (size_t i = 0; i < kLanesF32; i++) lane_numbers[i] = (int32_t)i;
    const i32xN lanes = load(lane_numbers);
    for (size_t r = whole; r < keys; r++)
        for (size_t h = 0; h < kHalves; h++) {
            const size_t at = r * kColumns + h * kLanesF32;
            f32xN s = load(scores + at);
            i32xN kept =
                lanes >= set1((int32_t)((ptrdiff_t)r - diagonal - (ptrdiff_t)(h * kLanesF32)));
            if (mask) {
                const f32xN m = load(mask + at);
                kept &= m != infinite;
                if (additive) s = fma(s, of_scores, m);
            }
            biggest[h] = max(kept ? magnitude(s) : set1(0.0f), biggest[h]);
            s = kept ? s : infinite;
            best[h] = max(s, best[h]);
            store(scores + at, s);
        }
}

// Two neighbouring keys' weights as pairs of bfloat16, rounded half up (weights are not negative).
FIRTH_INLINE void store_pairs(uint16_t* p, f32xN even, f32xN odd) {
    const u32xN low = ((u32xN)even + 0x8000) >> 16, high = ((u32xN)odd + 0x8000) & 0xffff0000u;
    const u32xN pairs = low | high;
    memcpy(p, &pairs, sizeof pairs);
}

// scores: keys x kColumns (changed); state: 3 x kColumns, for each query the reference (in
// the units of the scores), the sum and the largest magnitude of a score; out: values x
// kColumns, rescaled where a reference moved; weights: keys x kColumns float32 (may be
// scores), or pairs of keys in bfloat16. scale: from scores to exponents of 2; where the mask is
// additive, to the mask's units.
template <bool BF16>
FIRTH_INLINE void softmax_block(float* scores, size_t keys, float scale, const float* mask,
                                bool additive, ptrdiff_t diagonal, float* state, float* out,
                                size_t values, void* weights) {
    const f32xN infinite = set1(-__builtin_inff());
    const f32xN factor = set1(additive ? 1.44269504088896341f : scale);
    f32xN best[kHalves], biggest[kHalves], reference[kHalves], sum[kHalves], rescale[kHalves];
    for (size_t h = 0; h < kHalves; h++) {
        best[h] = infinite;
        biggest[h] = load(state + 2 * kColumns + h * kLanesF32);
    }
    mask_scores(scores, keys, scale, mask, additive, diagonal, best, biggest);
    bool moved = false;
    for (size_t h = 0; h < kHalves; h++) {
        const f32xN old = load(state + h * kLanesF32);
        const f32xN now = (best[h] - old) * factor > set1(kSlack) ? best[h] : old;
        rescale[h] = old == now ? set1(1.0f) : exp2<5>((old - now) * factor);
        moved |= mask_bits(old != now) != 0;
        store(state + h * kLanesF32, now);
        store(state + 2 * kColumns + h * kLanesF32, biggest[h]);
        reference[h] = now == infinite ? set1(0.0f) : now;  // nothing but masked keys so far
        sum[h] = load(state + kColumns + h * kLanesF32) * rescale[h];
    }
    if (moved)
        for (size_t e = 0; e < values; e++)
            for (size_t h = 0; h < kHalves; h++) {
                float* p = out + e * kColumns + h * kLanesF32;
                store(p, load(p) * rescale[h]);
            }

    // Differences first: exactly 0 (or up to kSlack) for the largest score, however large it is,
    // and the product can overflow only where the weight is 0.
    constexpr int degree = BF16 ? 3 : 5;
    size_t r = 0;
    for (; r + 2 <= keys; r += 2)
        for (size_t h = 0; h < kHalves; h++) {
            const float* from = scores + r * kColumns + h * kLanesF32;
            const f32xN even = exp2<degree>((load(from) - reference[h]) * factor);
            const f32xN odd = exp2<degree>((load(from + kColumns) - reference[h]) * factor);
            sum[h] = sum[h] + even + odd;
            if constexpr (BF16) {
                store_pairs((uint16_t*)weights + r * kColumns + h * 2 * kLanesF32, even, odd);
            } else {
                float* to = (float*)weights + r * kColumns + h * kLanesF32;
                store(to, even);
                store(to + kColumns, odd);
            }
        }
    if (r < keys)
        for (size_t h = 0; h < kHalves; h++) {
            const f32xN even =
                exp2<degree>((load(scores + r * kColumns + h * kLanesF32) - reference[h]) * factor);
            sum[h] = sum[h] + even;
            if constexpr (BF16)
                store_pairs((uint16_t*)weights + r * kColumns + h * 2 * kLanesF32, even,
                            set1(0.0f));
            else
                store((float*)weights + r * kColumns + h * kLanesF32, even);
        }
    for (size_t h = 0; h < kHalves; h++) store(state + kColumns + h * kLanesF32, sum[h]);
}

void attention_softmax_f32(float* scores, size_t keys, float scale, const float* mask,
                           bool additive, ptrdiff_t diagonal, float* state, float* out,
                           size_t values, void* weights) {
    softmax_block<false>(scores, keys, scale, mask, additive, diagonal, state, out, values,
                         weights);
}

void attention_softmax_bf16(float* scores, size_t keys, float scale, const float* mask,
                            bool additive, ptrdiff_t diagonal, float* state, float* out,
                            size_t values, void* weights) {
    softmax_block<true>(scores, keys, scale, mask, additive, diagonal, state, out, values, weights);
}

FIRTH_INLINE void put(float* p, f32xN v, size_t n) {
    n == kLanesF32 ? store(p, v) : store_partial(p, v, n);
}
FIRTH_INLINE void put(uint16_t* p, f32xN v, size_t n) {
    uint16_t lanes[kLanesF32];
    if (n == kLanesF32) return store_bf16(p, v);
    store_bf16(lanes, v);
    for (size_t i = 0; i < n; i++) p[i] = lanes[i];
}

// sums: values x kColumns; state as above; out: queries x values, stride elements apart. A
// query whose keys are all masked has the sum 0 and gives 0, as PyTorch.
template <class T>
FIRTH_INLINE void finish(const float* sums, const float* state, size_t queries, size_t values,
                         T* out, ptrdiff_t stride) {
    for (size_t first = 0; first < queries; first += kLanesF32) {
        const f32xN sum = load(state + kColumns + first);
        const f32xN inverse = sum == 0.0f ? set1(0.0f) : 1.0f / sum;
        const size_t rows = queries - first < kLanesF32 ? queries - first : kLanesF32;
        for (size_t e = 0; e < values; e += kLanesF32) {
            const size_t n = values - e < kLanesF32 ? values - e : kLanesF32;
            f32xN v[kLanesF32];
            for (size_t i = 0; i < kLanesF32; i++)
                v[i] = i < n ? load(sums + (e + i) * kColumns + first) * inverse : set1(0.0f);
            transpose(v, 0.0f);
            for (size_t i = 0; i < rows; i++)
                put(out + (ptrdiff_t)(first + i) * stride + e, v[i], n);
        }
    }
}

void attention_finish_f32(const float* sums, const float* state, size_t queries, size_t values,
                          float* out, ptrdiff_t stride) {
    finish(sums, state, queries, values, out, stride);
}

void attention_finish_bf16(const float* sums, const float* state, size_t queries, size_t values,
                           uint16_t* out, ptrdiff_t stride) {
    finish(sums, state, queries, values, out, stride);
}

}  // namespace firth::FIRTH_LEVEL
