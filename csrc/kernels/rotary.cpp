// Rotary position embedding (Su et al., arXiv:2104.09864): pairs (a, b) of a head's numbers turn by
// an angle of their row, to (a cos - b sin, b cos + a sin). No fma: the same bits on every level.
#include "../isa.h"
#include "list_transformer.h"

namespace firth::FIRTH_LEVEL {

// Pairs (i, i + half) of a head; cosines, sines: half.
FIRTH_INLINE void rotate_halves(float* x, const float* cosines, const float* sines, size_t half) {
    for (size_t i = 0; i < half; i += kLanesF32) {
        const size_t count = half - i < kLanesF32 ? half - i : kLanesF32;
        const f32xN a = load_up_to(x + i, count), b = load_up_to(x + half + i, count);
        const f32xN c = load_up_to(cosines + i, count), s = load_up_to(sines + i, count);
        store_up_to(x + i, a * c - b * s, count);
        store_up_to(x + half + i, b * c + a * s, count);
    }
}

// The even lanes and the odd ones in each other's place.
FIRTH_INLINE f32xN swap_neighbours(f32xN v) {
    typedef uint64_t u64xN __attribute__((vector_size(FIRTH_VECTOR_BYTES)));
    return (f32xN)((u64xN)v >> 32 | (u64xN)v << 32);
}

// Pairs (2 i, 2 i + 1) of a head; cosines, sines: half. With a b a b ... in a vector: a b times
// c c, and b a times -s s.
FIRTH_INLINE void rotate_neighbours(float* x, const float* cosines, const float* sines,
                                    size_t half) {
    for (size_t i = 0; i < half; i += kLanesF32) {
        const size_t pairs = half - i < kLanesF32 ? half - i : kLanesF32;
        const f32xN c = load_up_to(cosines + i, pairs), s = load_up_to(sines + i, pairs);
        f32xN cc[2], ss[2];
        interleave(c, c, &cc[0], &cc[1]);
        interleave(-s, s, &ss[0], &ss[1]);
        for (size_t v = 0; v < 2 && v * kLanesF32 < 2 * pairs; v++) {
            float* p = x + 2 * i + v * kLanesF32;
            const size_t rest = 2 * pairs - v * kLanesF32;
            const size_t count = rest < kLanesF32 ? rest : kLanesF32;
            const f32xN ab = load_up_to(p, count);
            store_up_to(p, ab * cc[v] + swap_neighbours(ab) * ss[v], count);
        }
    }
}

// x, changed in place: rows of heads x head_width, row_stride apart; cosines, sines: a row of
// rotated / 2 for each position; positions: rows. The first `rotated` numbers of a head, an even
// number, turn; the others stay.
void rotary_f32(float* x, ptrdiff_t row_stride, const float* cosines, const float* sines,
                const int32_t* positions, size_t rows, size_t heads, size_t head_width,
                size_t rotated, bool interleaved) {
    const size_t half = rotated / 2;
    for (size_t r = 0; r < rows; r++) {
        const float* c = cosines + (size_t)positions[r] * half;
        const float* s = sines + (size_t)positions[r] * half;
        for (size_t h = 0; h < heads; h++) {
            float* head = x + (ptrdiff_t)r * row_stride + h * head_width;
            interleaved ? rotate_neighbours(head, c, s, half) : rotate_halves(head, c, s, half);
        }
    }
}

}  // namespace firth::FIRTH_LEVEL
