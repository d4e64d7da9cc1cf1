// Kernels of products with weights in the blocks of GGUF files: digits.cpp, block_product.cpp.
//
// Inputs are whole numbers V, and each 32 of a token share a scale s: V has 14 bits as two digits
// (V = 128 H + L, H and L signed bytes of 7 bits), or 8 bits as one. Weights are bytes u that stand
// for a u + b, with a and b for each 32 or 16. So
//   sum of x w = a s sum(V u) + b s sum(V),   sum(V u) = 128 sum(H u) + sum(L u)
// whose sums are whole numbers, exact on every level. Floats are added in the order of K alone.
//
// Panels: kPanelRows rows of weights, block by block; a block of a panel takes the bytes that the
// rows' blocks take in the file. In it, for each 32 weights of a row, planes of vectors of
// kPanelRows x 4 bytes: 2, 4 or 8 for the low bits of the codes, and 1 or 2 for the bits above.
// Code 4 u + i of a row is byte i of its lane: in 4 planes the low half of plane u, or the high
// half of plane u - 4; in 2 planes bits 2 (u % 4) of plane u / 4; in one plane bit u. Behind the
// planes of all 32s are words of 32 bits (scales of K-blocks), then float16 numbers (scales and
// offsets), each kPanelRows a row.
#pragma once
#include "list.h"

namespace firth {

constexpr size_t kPanelRows = 16;
constexpr size_t kDigitBlock = 32;   // inputs that share a scale
constexpr size_t kDigitTokens = 8;   // of a tile of inputs
constexpr size_t kDigitNumbers = 4;  // s, s sum, s sum of the first 16, of the last 16

// Bits of codes, weights that share a scale, and how many words and float16 numbers a block has.
struct BlockLayout {
    size_t block, low, high, shared, words, halves;

    constexpr size_t parts() const { return block / kDigitBlock; }
    constexpr size_t plane_bytes() const { return 4 * kPanelRows * (low + high); }  // of a part
    constexpr size_t words_at() const { return parts() * plane_bytes(); }
    constexpr size_t halves_at() const { return words_at() + 4 * kPanelRows * words; }
    constexpr size_t bytes() const { return halves_at() + 2 * kPanelRows * halves; }
};
constexpr BlockLayout kLayoutQ4_0{32, 4, 0, 32, 0, 1}, kLayoutQ4_1{32, 4, 0, 32, 0, 2},
    kLayoutQ5_0{32, 4, 1, 32, 0, 1}, kLayoutQ5_1{32, 4, 1, 32, 0, 2},
    kLayoutQ8_0{32, 8, 0, 32, 0, 1}, kLayoutQ2_K{256, 2, 0, 16, 4, 2},
    kLayoutQ3_K{256, 2, 1, 16, 3, 1}, kLayoutQ4_K{256, 4, 0, 32, 3, 2},
    kLayoutQ5_K{256, 4, 1, 32, 3, 2}, kLayoutQ6_K{256, 4, 2, 16, 4, 1},
    kLayoutIQ4_NL{32, 4, 0, 32, 0, 1};

// Inputs as D digits, 1 or 2, in tiles of kDigitTokens tokens (the last one of fewer, T): codes are
// [k / 32][T][D][8 units], numbers [k / 32][T][kDigitNumbers].
struct DigitTile {
    const int32_t* codes;
    const float* numbers;
    size_t tokens, digits;
};

}  // namespace firth

#define FIRTH_BLOCK_PRODUCT(K, type) \
    K(void, block_product_##type, \
      (const uint8_t* panels, size_t rows, size_t blocks, const DigitTile& x, float* out, \
       ptrdiff_t stride))

#define FIRTH_BLOCK_KERNELS(K) \
    K(void, digit_rows, \
      (const float* x, ptrdiff_t stride, size_t tokens, size_t n, size_t digits, int32_t* codes, \
       float* numbers)) \
    FIRTH_BLOCK_PRODUCT(K, q4_0) \
    FIRTH_BLOCK_PRODUCT(K, q4_1) \
    FIRTH_BLOCK_PRODUCT(K, q5_0) \
    FIRTH_BLOCK_PRODUCT(K, q5_1) \
    FIRTH_BLOCK_PRODUCT(K, q8_0) \
    FIRTH_BLOCK_PRODUCT(K, q2_k) \
    FIRTH_BLOCK_PRODUCT(K, q3_k) \
    FIRTH_BLOCK_PRODUCT(K, q4_k) \
    FIRTH_BLOCK_PRODUCT(K, q5_k) \
    FIRTH_BLOCK_PRODUCT(K, q6_k) \
    FIRTH_BLOCK_PRODUCT(K, iq4_nl)

#define FIRTH_FLOAT_PANEL_KERNELS(K) \
    K(void, float_product, \
      (const void* panels, size_t rows, size_t n, int kind, const float* x, ptrdiff_t x_stride, \
       size_t tokens, float* out, ptrdiff_t stride))

FIRTH_DECLARE_LIST(FIRTH_FLOAT_PANEL_KERNELS(FIRTH_DECLARE))
FIRTH_DECLARE_REFINED(FIRTH_BLOCK_KERNELS(FIRTH_DECLARE))
