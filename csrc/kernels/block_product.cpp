// Products with weights in the blocks of GGUF files, as they are in the file: list_blocks.h has the
// layout and the arithmetic. A type is a row at the end: its layout, and how its scales are read.
//
// Codes are unpacked in registers, a vector of a unit (four codes of each row), and meet the digits
// of up to eight tokens. Levels without an instruction for products of bytes sum several units in
// 16 bits before they widen, where the codes are small enough; large ones go as two halves. The
// bits of a token's result do not depend on the tokens beside it.
#include "../isa.h"
#include "list_blocks.h"

namespace firth::FIRTH_LEVEL {

namespace {

constexpr size_t kUnits = kDigitBlock / 4;           // of a part: 32 weights of each row
constexpr size_t kDigitWords = kUnits * kCodeWords;  // of one digit of a part
constexpr size_t kPlane = 4 * kPanelRows;            // bytes
// Tokens at once. Eight take sanitizers minutes to compile, and two have the same code.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kTile = 2;
#else
constexpr size_t kTile = kRegisters == 32 ? 8 : 4;
#endif

// What a row's codes of one part stand for: a u + b, for all 32 or for each 16.
struct Factors {
    f32xN a[2], b[2];
};

FIRTH_INLINE i32xN load_bytes(const uint8_t* p) { return load((const int32_t*)p); }
FIRTH_INLINE f32xN load_halves(const uint8_t* p) { return load_f16((const uint16_t*)p); }

// Word `i` of the words at p.
FIRTH_INLINE i32xN word(const uint8_t* p, size_t i) { return load_bytes(p + i * 4 * kPanelRows); }

// ---- scales: of part j of a block, from its words and halves. z: the code that stands for zero.

template <int z>
struct Symmetric {
    FIRTH_INLINE void read(const uint8_t*, const uint8_t* halves, size_t, Factors* to) {
        to->a[0] = load_halves(halves);
        to->b[0] = to->a[0] * (float)-z;
    }
};
struct Offset {
    FIRTH_INLINE void read(const uint8_t*, const uint8_t* halves, size_t, Factors* to) {
        to->a[0] = load_halves(halves);
        to->b[0] = load_halves(halves + 2 * kPanelRows);
    }
};
// Q4_K, Q5_K: scales and offsets of six bits.
struct SixBits {
    FIRTH_INLINE void read(const uint8_t* words, const uint8_t* halves, size_t j, Factors* to) {
        const i32xN first = word(words, 0), second = word(words, 1), third = word(words, 2);
        const int32_t shift = 8 * (int32_t)(j % 4);
        i32xN scale, offset;
        if (j < 4) {
            scale = first >> shift & 63;
            offset = second >> shift & 63;
        } else {
            scale = (third >> shift & 15) | (first >> (shift + 6) & 3) << 4;
            offset = (third >> (shift + 4) & 15) | (second >> (shift + 6) & 3) << 4;
        }
        to->a[0] = load_halves(halves) * to_f32(scale);
        to->b[0] = -(load_halves(halves + 2 * kPanelRows) * to_f32(offset));
    }
};
// Q2_K: scales and offsets of four bits, for each 16.
struct FourBits {
    FIRTH_INLINE void read(const uint8_t* words, const uint8_t* halves, size_t j, Factors* to) {
        const f32xN d = load_halves(halves), least = load_halves(halves + 2 * kPanelRows);
#pragma GCC unroll 2
        for (size_t h = 0; h < 2; h++) {
            const size_t s = 2 * j + h;
            const i32xN both = word(words, s / 4) >> (8 * (int32_t)(s % 4));
            to->a[h] = d * to_f32(both & 15);
            to->b[h] = -(least * to_f32(both >> 4 & 15));
        }
    }
};
// Q3_K: scales of six bits less 32, for each 16.
struct SixBitsLess {
    FIRTH_INLINE void read(const uint8_t* words, const uint8_t* halves, size_t j, Factors* to) {
        const f32xN d = load_halves(halves);
        const i32xN upper = word(words, 2);
#pragma GCC unroll 2
        for (size_t h = 0; h < 2; h++) {
            const size_t s = 2 * j + h, row = s / 4;
            const int32_t shift = 8 * (int32_t)(s % 4);
            const i32xN low = word(words, row % 2) >> (shift + (row >= 2 ? 4 : 0)) & 15;
            const i32xN high = upper >> (shift + 2 * (int32_t)row) & 3;
            to->a[h] = d * to_f32((low | high << 4) - 32);
            to->b[h] = to->a[h] * -4.0f;
        }
    }
};
// Q6_K: scales of a signed byte, for each 16.
struct Bytes {
    FIRTH_INLINE void read(const uint8_t* words, const uint8_t* halves, size_t j, Factors* to) {
        const f32xN d = load_halves(halves);
#pragma GCC unroll 2
        for (size_t h = 0; h < 2; h++) {
            const size_t s = 2 * j + h;
            const i32xN scale = word(words, s / 4) << (24 - 8 * (int32_t)(s % 4)) >> 24;
            to->a[h] = d * to_f32(scale);
            to->b[h] = to->a[h] * -32.0f;
        }
    }
};

// ---- codes

struct Plain {
    static constexpr int greatest = 0;  // as many bits as the type has
    FIRTH_INLINE i32xN of(i32xN codes) { return codes; }
};
// IQ4_NL: codes are places in a table; 128 is zero.
struct Table {
    static constexpr int greatest = 241;
    FIRTH_INLINE i32xN of(i32xN codes) {
        static constexpr uint8_t values[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                               129, 141, 153, 166, 181, 197, 217, 241};
        return look_up_bytes(values, codes);
    }
};

// Codes of unit u, from the planes at p.
template <size_t low, size_t high>
FIRTH_INLINE i32xN unit_codes(const uint8_t* p, size_t u) {
    i32xN codes;
    if constexpr (low == 8) {
        codes = load_bytes(p + u * kPlane);
    } else if constexpr (low == 4) {
        const i32xN both = load_bytes(p + u % 4 * kPlane);
        codes = (u < 4 ? both : both >> 4) & 0x0f0f0f0f;
    } else {
        codes = load_bytes(p + u / 4 * kPlane) >> (2 * (int32_t)(u % 4)) & 0x03030303;
    }
    if constexpr (high > 0) {
        constexpr size_t units = 8 / high;  // of a plane
        const i32xN bits = load_bytes(p + (low + u / units) * kPlane);
        const int32_t shift = (int32_t)low - (int32_t)(high * (u % units));
        constexpr int32_t mask = (high == 1 ? 0x01010101 : 0x03030303) << low;
        codes |= (shift >= 0 ? bits << shift : bits >> -shift) & mask;
    }
    return codes;
}

}  // namespace

// The greatest code of a type.
template <const BlockLayout& layout, class Codes>
constexpr int kGreatest =
    Codes::greatest > 0 ? Codes::greatest : (1 << (layout.low + layout.high)) - 1;

// Whole sums of products of `units` units of codes from unit `first` on and D digits of T tokens.
// planes: of a part, its lanes of this vector; codes: [T][D][8 units]; sums: [D][T].
template <const BlockLayout& layout, class Codes, size_t D, size_t T, size_t units>
FIRTH_INLINE void products_of(const uint8_t* planes, size_t first, const int32_t* codes,
                              i32xN (*sums)[T]) {
    constexpr int most = D == 2 ? 64 : 127;  // of a digit
    // Units whose products sum in 16 bits, of whole codes and of their halves.
    constexpr size_t run = kPairLimit / (2 * most * kGreatest<layout, Codes>);
    constexpr size_t run_of_halves = kPairLimit / (2 * most * 15);
    const auto code = [&](size_t t, size_t digit, size_t u) {
        return codes + (t * D + digit) * kDigitWords + u * kCodeWords;
    };
#pragma GCC unroll 2
    for (size_t digit = 0; digit < D; digit++)
#pragma GCC unroll 8
        for (size_t t = 0; t < T; t++) sums[digit][t] = set1((int32_t)0);
    if constexpr (kPairSums && (run > 1 || (run == 0 && units <= run_of_halves))) {
        constexpr size_t parts = run > 1 ? 1 : 2, step = run > 1 && run < units ? run : units;
        i32xN pairs[parts][D][T];
#pragma GCC unroll 8
        for (size_t i = 0; i < units; i++) {
            const size_t u = first + i;
            const i32xN bytes = Codes::of(unit_codes<layout.low, layout.high>(planes, u));
#pragma GCC unroll 2
            for (size_t part = 0; part < parts; part++) {
                const i32xN rows = parts == 1 ? bytes : (part ? bytes >> 4 : bytes) & 0x0f0f0f0f;
#pragma GCC unroll 2
                for (size_t digit = 0; digit < D; digit++)
#pragma GCC unroll 8
                    for (size_t t = 0; t < T; t++) {
                        i32xN& sum = pairs[part][digit][t];
                        if (i % step == 0) sum = set1((int32_t)0);
                        sum = add_pairs(rows, code(t, digit, u), sum);
                        if (i % step == step - 1)
                            sums[digit][t] += widen_pairs(sum) << (part ? 4 : 0);
                    }
            }
        }
    } else {
#pragma GCC unroll 8
        for (size_t i = 0; i < units; i++) {
            const size_t u = first + i;
            const BytesXN bytes =
                split_bytes(Codes::of(unit_codes<layout.low, layout.high>(planes, u)));
#pragma GCC unroll 2
            for (size_t digit = 0; digit < D; digit++)
#pragma GCC unroll 8
                for (size_t t = 0; t < T; t++)
                    sums[digit][t] = dot_bytes(bytes, code(t, digit, u), sums[digit][t]);
        }
    }
}

// panel: its lanes of this vector, `blocks` blocks; x: from the first of T tokens on, of `all` in
// the tile; sums: T vectors.
template <const BlockLayout& layout, class Scales, class Codes, size_t D, size_t T>
FIRTH_INLINE void tile(const uint8_t* panel, size_t lane, size_t blocks, const int32_t* codes,
                       const float* numbers, size_t all, f32xN* sums) {
    constexpr size_t halves = kDigitBlock / layout.shared, units = kUnits / halves;
    for (size_t b = 0; b < blocks; b++, panel += layout.bytes()) {
        const uint8_t* words = panel + layout.words_at() + 4 * lane;
        const uint8_t* scales = panel + layout.halves_at() + 2 * lane;
        for (size_t j = 0; j < layout.parts(); j++) {
            const uint8_t* planes = panel + j * layout.plane_bytes() + 4 * lane;
            Factors factors;
            Scales::read(words, scales, j, &factors);
#pragma GCC unroll 2
            for (size_t h = 0; h < halves; h++) {
                i32xN products[D][T];
                products_of<layout, Codes, D, T, units>(planes, h * units, codes, products);
                const f32xN a = factors.a[h];
                // Rows of signed bytes are 128 less.
                const f32xN b = kSignedRows ? factors.b[h] + a * 128.0f : factors.b[h];
#pragma GCC unroll 8
                for (size_t t = 0; t < T; t++) {
                    const float* of = numbers + t * kDigitNumbers;
                    const i32xN whole =
                        D == 2 ? (products[0][t] << 7) + products[D - 1][t] : products[0][t];
                    sums[t] = fma(b, set1(of[halves == 1 ? 1 : 2 + h]), sums[t]);
                    sums[t] = fma(a * to_f32(whole), set1(of[0]), sums[t]);
                }
            }
            codes += all * D * kDigitWords;
            numbers += all * kDigitNumbers;
        }
    }
}

template <const BlockLayout& layout, class Scales, class Codes, size_t D, size_t T>
FIRTH_INLINE void tokens_of_panel(const uint8_t* panel, size_t rows, size_t blocks,
                                  const DigitTile& x, size_t first, float* out, ptrdiff_t stride) {
    for (size_t lane = 0; lane < rows; lane += kLanesF32) {
        f32xN sums[T];
#pragma GCC unroll 8
        for (size_t t = 0; t < T; t++) sums[t] = set1(0.0f);
        tile<layout, Scales, Codes, D, T>(panel, lane, blocks, x.codes + first * D * kDigitWords,
                                          x.numbers + first * kDigitNumbers, x.tokens, sums);
        const size_t n = rows - lane < kLanesF32 ? rows - lane : kLanesF32;
#pragma GCC unroll 8
        for (size_t t = 0; t < T; t++)
            store_up_to(out + (ptrdiff_t)(first + t) * stride + lane, sums[t], n);
    }
}

// panels: of `rows` rows, the last one padded, of `blocks` blocks each; out: x.tokens x rows.
template <const BlockLayout& layout, class Scales, class Codes, size_t D>
FIRTH_INLINE void product(const uint8_t* panels, size_t rows, size_t blocks, const DigitTile& x,
                          float* out, ptrdiff_t stride) {
    for (size_t r = 0; r < rows; r += kPanelRows, panels += blocks * layout.bytes()) {
        const size_t n = rows - r < kPanelRows ? rows - r : kPanelRows;
        size_t t = 0;
        for (; t + kTile <= x.tokens; t += kTile)
            tokens_of_panel<layout, Scales, Codes, D, kTile>(panels, n, blocks, x, t, out + r,
                                                             stride);
        if constexpr (kTile > 4)
            if (t + 4 <= x.tokens) {
                tokens_of_panel<layout, Scales, Codes, D, 4>(panels, n, blocks, x, t, out + r,
                                                             stride);
                t += 4;
            }
        if constexpr (kTile > 2)
            if (t + 2 <= x.tokens) {
                tokens_of_panel<layout, Scales, Codes, D, 2>(panels, n, blocks, x, t, out + r,
                                                             stride);
                t += 2;
            }
        if (t < x.tokens)
            tokens_of_panel<layout, Scales, Codes, D, 1>(panels, n, blocks, x, t, out + r, stride);
    }
}

#define FIRTH_BLOCK_TYPE(name, layout, Scales, Codes) \
    void block_product_##name(const uint8_t* panels, size_t rows, size_t blocks, \
                              const DigitTile& x, float* out, ptrdiff_t stride) { \
        if (x.digits == 2) \
            product<layout, Scales, Codes, 2>(panels, rows, blocks, x, out, stride); \
        else \
            product<layout, Scales, Codes, 1>(panels, rows, blocks, x, out, stride); \
    }
FIRTH_BLOCK_TYPE(q4_0, kLayoutQ4_0, Symmetric<8>, Plain)
FIRTH_BLOCK_TYPE(q4_1, kLayoutQ4_1, Offset, Plain)
FIRTH_BLOCK_TYPE(q5_0, kLayoutQ5_0, Symmetric<16>, Plain)
FIRTH_BLOCK_TYPE(q5_1, kLayoutQ5_1, Offset, Plain)
FIRTH_BLOCK_TYPE(q8_0, kLayoutQ8_0, Symmetric<128>, Plain)
FIRTH_BLOCK_TYPE(q2_k, kLayoutQ2_K, FourBits, Plain)
FIRTH_BLOCK_TYPE(q3_k, kLayoutQ3_K, SixBitsLess, Plain)
FIRTH_BLOCK_TYPE(q4_k, kLayoutQ4_K, SixBits, Plain)
FIRTH_BLOCK_TYPE(q5_k, kLayoutQ5_K, SixBits, Plain)
FIRTH_BLOCK_TYPE(q6_k, kLayoutQ6_K, Bytes, Plain)
FIRTH_BLOCK_TYPE(iq4_nl, kLayoutIQ4_NL, Symmetric<128>, Table)

}  // namespace firth::FIRTH_LEVEL
