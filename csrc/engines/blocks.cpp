#include "engines/blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "caches.h"
#include "sizes.h"

namespace firth {
namespace {

const BlockType kTypes[] = {
    {0, 1, 4, 0, {}, nullptr},
    {1, 1, 2, 1, {}, nullptr},
    {30, 1, 2, 2, {}, nullptr},
    {2, 32, 18, -1, kLayoutQ4_0, &Kernels::block_product_q4_0},
    {3, 32, 20, -1, kLayoutQ4_1, &Kernels::block_product_q4_1},
    {6, 32, 22, -1, kLayoutQ5_0, &Kernels::block_product_q5_0},
    {7, 32, 24, -1, kLayoutQ5_1, &Kernels::block_product_q5_1},
    {8, 32, 34, -1, kLayoutQ8_0, &Kernels::block_product_q8_0},
    {10, 256, 84, -1, kLayoutQ2_K, &Kernels::block_product_q2_k},
    {11, 256, 110, -1, kLayoutQ3_K, &Kernels::block_product_q3_k},
    {12, 256, 144, -1, kLayoutQ4_K, &Kernels::block_product_q4_k},
    {13, 256, 176, -1, kLayoutQ5_K, &Kernels::block_product_q5_k},
    {14, 256, 210, -1, kLayoutQ6_K, &Kernels::block_product_q6_k},
    {20, 32, 18, -1, kLayoutIQ4_NL, &Kernels::block_product_iq4_nl},
};

enum Number {
    Q4_0 = 2,
    Q4_1,
    Q5_0 = 6,
    Q5_1,
    Q8_0,
    Q2_K = 10,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    IQ4_NL = 20
};

constexpr int8_t kTable[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                               1,    13,   25,  38,  53,  69,  89,  113};

// Where a block of the file has its words and its float16 numbers.
struct Fields {
    size_t words, halves;
};
Fields fields(int number) {
    switch (number) {
        case Q2_K:
            return {0, 80};
        case Q3_K:
            return {96, 108};
        case Q4_K:
        case Q5_K:
            return {4, 0};
        case Q6_K:
            return {192, 208};
        default:
            return {0, 0};
    }
}

// The codes of a block of the file, in the order of its weights.
void read_codes(int number, const uint8_t* b, uint8_t* codes) {
    const auto nibbles = [&](const uint8_t* q) {  // 32 of them: low halves first
        for (size_t i = 0; i < 16; i++) codes[i] = q[i] & 15, codes[i + 16] = q[i] >> 4;
    };
    const auto fifth = [&](const uint8_t* bits) {
        for (size_t i = 0; i < 32; i++) codes[i] |= uint8_t((bits[i / 8] >> (i % 8) & 1) << 4);
    };
    switch (number) {
        case Q4_0:
        case IQ4_NL:
            return nibbles(b + 2);
        case Q4_1:
            return nibbles(b + 4);
        case Q5_0:
            nibbles(b + 6);
            return fifth(b + 2);
        case Q5_1:
            nibbles(b + 8);
            return fifth(b + 4);
        case Q8_0:
            for (size_t i = 0; i < 32; i++) codes[i] = b[2 + i] ^ 0x80;
            return;
        case Q2_K:
        case Q3_K: {
            const uint8_t* q = b + (number == Q2_K ? 16 : 32);
            for (size_t i = 0; i < 256; i++) {
                const size_t l = i % 32, shift = i / 32 % 4;
                codes[i] = q[i / 128 * 32 + l] >> (2 * shift) & 3;
                if (number == Q3_K) codes[i] |= uint8_t((b[l] >> (i / 32) & 1) << 2);
            }
            return;
        }
        case Q4_K:
        case Q5_K: {
            const uint8_t* q = b + (number == Q4_K ? 16 : 48);
            for (size_t i = 0; i < 256; i++) {
                const uint8_t both = q[i / 64 * 32 + i % 32];
                codes[i] = i / 32 % 2 ? both >> 4 : both & 15;
                if (number == Q5_K) codes[i] |= uint8_t((b[16 + i % 32] >> (i / 32) & 1) << 4);
            }
            return;
        }
        case Q6_K:
            for (size_t i = 0; i < 256; i++) {
                const size_t half = i / 128, l = i % 32, quarter = i / 32 % 4;
                const uint8_t low = b[half * 64 + quarter % 2 * 32 + l];
                const uint8_t high = b[128 + half * 32 + l] >> (2 * quarter);
                codes[i] = uint8_t((quarter < 2 ? low & 15 : low >> 4) | (high & 3) << 4);
            }
            return;
    }
}

// Puts a row's codes of a part into its lane of the planes, which are zero; or gets them.
template <bool get>
void planes(const BlockLayout& layout, size_t row, uint8_t* part, uint8_t* codes) {
    const auto put = [&](size_t plane, size_t i, size_t shift, size_t bits, size_t from) {
        uint8_t& byte = part[plane * 4 * kPanelRows + 4 * row + i % 4];
        const int mask = (1 << bits) - 1;
        if (get)
            codes[i] |= uint8_t((byte >> shift & mask) << from);
        else
            byte |= uint8_t((codes[i] >> from & mask) << shift);
    };
    if (!get && layout.high == 0 && layout.low >= 4) {  // most matrices, a unit at a time
        const size_t planes = layout.low;
        for (size_t u = 0; u < planes; u++) {
            uint32_t unit, upper = 0;
            std::memcpy(&unit, codes + 4 * u, 4);
            if (planes == 4) std::memcpy(&upper, codes + 4 * (u + 4), 4);
            unit |= upper << 4;
            std::memcpy(part + 4 * (u * kPanelRows + row), &unit, 4);
        }
        return;
    }
    for (size_t i = 0; i < kDigitBlock; i++) {
        const size_t u = i / 4;
        if (layout.low == 8)
            put(u, i, 0, 8, 0);
        else if (layout.low == 4)
            put(u % 4, i, u / 4 * 4, 4, 0);
        else
            put(u / 4, i, u % 4 * 2, 2, 0);
        if (layout.high == 1) put(layout.low, i, u, 1, layout.low);
        if (layout.high == 2) put(layout.low + u / 4, i, u % 4 * 2, 2, layout.low);
    }
}

// block: of the file; panel: the block of a panel, zero in this row's lanes.
void pack_block(const BlockType& type, const uint8_t* block, size_t row, uint8_t* panel) {
    const BlockLayout& layout = type.layout;
    uint8_t codes[256];
    read_codes(type.number, block, codes);
    for (size_t j = 0; j < layout.parts(); j++)
        planes<false>(layout, row, panel + j * layout.plane_bytes(), codes + j * kDigitBlock);
    const Fields from = fields(type.number);
    for (size_t w = 0; w < layout.words; w++)
        std::memcpy(panel + layout.words_at() + 4 * (w * kPanelRows + row),
                    block + from.words + 4 * w, 4);
    for (size_t h = 0; h < layout.halves; h++)
        std::memcpy(panel + layout.halves_at() + 2 * (h * kPanelRows + row),
                    block + from.halves + 2 * h, 2);
}

float widen_half(uint16_t bits) {
    const uint32_t magnitude = uint32_t(bits & 0x7fff) << 13, sign = uint32_t(bits & 0x8000) << 16;
    float value;
    std::memcpy(&value, &magnitude, 4);
    value *= 0x1p112f;  // exponents differ by 112; exact, and right for denormals
    uint32_t wide;
    std::memcpy(&wide, &value, 4);
    if (magnitude >= 0x7c00u << 13) wide = magnitude | 0x7f800000;
    wide |= sign;
    std::memcpy(&value, &wide, 4);
    return value;
}

// What one row's codes of part j stand for: a (u - zero) + b, for all 32 or for each 16.
struct RowFactors {
    float a[2], b[2], zero;
};
RowFactors factors(int number, const uint32_t* words, const float* halves, size_t j) {
    RowFactors to{};
    const auto byte = [&](size_t i) { return words[i / 4] >> (8 * (i % 4)) & 255; };
    to.a[0] = to.a[1] = halves[0];
    switch (number) {
        case Q4_0:
            to.zero = 8;
            break;
        case Q5_0:
            to.zero = 16;
            break;
        case Q8_0:
        case IQ4_NL:
            to.zero = 128;
            break;
        case Q4_1:
        case Q5_1:
            to.b[0] = to.b[1] = halves[1];
            break;
        case Q4_K:
        case Q5_K: {
            const uint32_t low = j < 4 ? byte(j) & 63 : (byte(j + 4) & 15) | byte(j - 4) >> 6 << 4;
            const uint32_t least = j < 4 ? byte(j + 4) & 63 : byte(j + 4) >> 4 | byte(j) >> 6 << 4;
            to.a[0] = to.a[1] = halves[0] * float(low);
            to.b[0] = to.b[1] = -(halves[1] * float(least));
            break;
        }
        case Q2_K:
            for (size_t h = 0; h < 2; h++) {
                const uint32_t both = byte(2 * j + h);
                to.a[h] = halves[0] * float(both & 15), to.b[h] = -(halves[1] * float(both >> 4));
            }
            break;
        case Q3_K:
            to.zero = 4;
            for (size_t h = 0; h < 2; h++) {
                const size_t s = 2 * j + h;
                const uint32_t low = byte(s % 8) >> (s < 8 ? 0 : 4) & 15;
                const uint32_t high = byte(8 + s % 4) >> (2 * (s / 4)) & 3;
                to.a[h] = halves[0] * float(int(low | high << 4) - 32);
            }
            break;
        case Q6_K:
            to.zero = 32;
            for (size_t h = 0; h < 2; h++)
                to.a[h] = halves[0] * float(int8_t(uint8_t(byte(2 * j + h))));
            break;
    }
    return to;
}

}  // namespace

const BlockType* block_type(int number) {
    for (const BlockType& type : kTypes)
        if (type.number == number) return &type;
    return nullptr;
}

BlockInput::BlockInput(const Kernels& kernels, const float* x, ptrdiff_t stride, size_t tokens,
                       size_t n, size_t digits, int threads)
    : x_(x),
      stride_(stride),
      tokens_(tokens),
      digits_(digits),
      blocks_(divide_up(n, kDigitBlock)),
      words_(digits * kDigitBlock / 4 * kernels.code_words),
      codes_(tokens * blocks_ * words_ * sizeof(int32_t)),
      numbers_(digits ? tokens * blocks_ * kDigitNumbers * sizeof(float) : 0) {
    if (!digits) return;
    parallel_for(
        tiles(), 1,
        [&](size_t i, size_t) {
            const size_t first = i * kDigitTokens, at = first * blocks_;
            kernels.digit_rows(x + ptrdiff_t(first) * stride, stride,
                               std::min(kDigitTokens, tokens - first), n, digits,
                               codes_.data<int32_t>() + at * words_,
                               numbers_.data<float>() + at * kDigitNumbers);
        },
        threads);
}

DigitTile BlockInput::tile(size_t i) const {
    const size_t first = i * kDigitTokens, at = first * blocks_;
    return {codes_.data<int32_t>() + at * words_, numbers_.data<float>() + at * kDigitNumbers,
            std::min(kDigitTokens, tokens_ - first), digits_};
}

BlockMatrix::BlockMatrix(const Kernels& kernels, const BlockType& type,
                         const std::vector<BlockRows>& parts, size_t columns)
    : kernels_(&kernels), type_(type), columns_(columns) {
    std::vector<const uint8_t*> rows;
    for (const BlockRows& part : parts)
        for (size_t r = 0; r < part.rows; r++)
            rows.push_back(part.data + ptrdiff_t(r) * part.stride);
    rows_ = rows.size();
    bytes_ = product(round_up(rows_, kPanelRows), columns / type.block * type.bytes);
    panels_ = AlignedBuffer(bytes_);
    const size_t blocks = columns / type.block, panel = kPanelRows * blocks * type.bytes;
    parallel_for(divide_up(rows_, kPanelRows), 1, [&](size_t p, size_t) {
        uint8_t* to = reinterpret_cast<uint8_t*>(panels_.data()) + p * panel;
        std::memset(to, 0, panel);
        for (size_t r = 0; r < std::min(kPanelRows, rows_ - p * kPanelRows); r++) {
            const uint8_t* from = rows[p * kPanelRows + r];
            for (size_t b = 0; b < blocks; b++, from += type.bytes) {
                if (takes_digits())
                    pack_block(type, from, r, to + b * type.layout.bytes());
                else
                    std::memcpy(to + (b * kPanelRows + r) * type.bytes, from, type.bytes);
            }
        }
    });
}

void BlockMatrix::multiply(const BlockInput& x, float* out, ptrdiff_t stride, const Epilogue& e,
                           int threads) const {
    // Panels of a task stay in L2 while all tiles of tokens meet them, and each thread has as many
    // tasks.
    const size_t panels = divide_up(rows_, kPanelRows), panel = panel_bytes();
    const size_t fit = std::max(l2_bytes() / 3 / std::max(panel, size_t(1)), size_t(1));
    const size_t each = divide_up(panels, size_t(threads));  // of a thread
    const size_t grain = divide_up(each, divide_up(each, fit));
    parallel_for(
        panels, x.tokens() > kDigitTokens ? grain : each,
        [&](size_t begin, size_t end) {
            const char* from = panels_.data() + begin * panel;
            const size_t row = begin * kPanelRows, n = std::min(end * kPanelRows, rows_) - row;
            for (size_t i = 0; i < x.tiles(); i++) {
                const size_t first = i * kDigitTokens;
                const size_t tokens = std::min(kDigitTokens, x.tokens() - first);
                float* to = out + ptrdiff_t(first) * stride + row;
                if (takes_digits())
                    (kernels_->*type_.product)(reinterpret_cast<const uint8_t*>(from), n,
                                               columns_ / type_.block, x.tile(i), to, stride);
                else
                    kernels_->float_product(from, n, columns_, type_.floats,
                                            x.data() + ptrdiff_t(first) * x.stride(), x.stride(),
                                            tokens, to, stride);
                Epilogue part = e;
                if (e.bias) part.bias = static_cast<const float*>(e.bias) + row;
                if (e.residual)
                    part.residual =
                        static_cast<const float*>(e.residual) + ptrdiff_t(first) * e.stride + row;
                if (e.bias || e.residual || e.activation != kNone)
                    kernels_->gemm_f32.finish(to, stride, tokens, n, part);
            }
        },
        threads);
}

void BlockMatrix::widen(size_t row, float* to) const {
    const size_t lane = row % kPanelRows;
    const auto* panel =
        reinterpret_cast<const uint8_t*>(panels_.data()) + row / kPanelRows * panel_bytes();
    if (!takes_digits()) {
        for (size_t k = 0; k < columns_; k++) {
            const uint8_t* at = panel + (k * kPanelRows + lane) * type_.bytes;
            uint32_t wide;
            uint16_t half;
            if (type_.floats == 0) {
                std::memcpy(&wide, at, 4);
            } else {
                std::memcpy(&half, at, 2);
                wide = uint32_t(half) << 16;
            }
            if (type_.floats == 1)
                to[k] = widen_half(half);
            else
                std::memcpy(to + k, &wide, 4);
        }
        return;
    }
    const BlockLayout& layout = type_.layout;
    for (size_t b = 0; b < columns_ / type_.block; b++, panel += layout.bytes()) {
        uint32_t words[4] = {};
        float halves[2] = {};
        for (size_t w = 0; w < layout.words; w++)
            std::memcpy(words + w, panel + layout.words_at() + 4 * (w * kPanelRows + lane), 4);
        for (size_t h = 0; h < layout.halves; h++) {
            uint16_t bits;
            std::memcpy(&bits, panel + layout.halves_at() + 2 * (h * kPanelRows + lane), 2);
            halves[h] = widen_half(bits);
        }
        for (size_t j = 0; j < layout.parts(); j++, to += kDigitBlock) {
            uint8_t codes[kDigitBlock] = {};
            planes<true>(layout, lane, const_cast<uint8_t*>(panel) + j * layout.plane_bytes(),
                         codes);
            const RowFactors f = factors(type_.number, words, halves, j);
            for (size_t i = 0; i < kDigitBlock; i++) {
                const float code =
                    type_.number == IQ4_NL ? float(kTable[codes[i]]) : float(codes[i]) - f.zero;
                const size_t h = layout.shared == 16 ? i / 16 : 0;
                to[i] = f.a[h] * code + f.b[h];
            }
        }
    }
}

}  // namespace firth
