// The first pass of a certified search: products of bytes, and at once the test whether a row may
// be among the best. No score is ever stored; the output is the rows that pass.
//
// Rows are in blocks of 32: codes[block][unit][row][4], a unit being four neighbours along the
// dimension, so that one step of the inner loop takes a unit of every row and broadcasts one of the
// query. The layout is the same on every level (it is what files hold), and no dimension pays for
// padding but the last unit.
#include "../isa.h"
#include "list_search.h"

namespace firth::FIRTH_LEVEL {

namespace {

// Rows that a tile takes at once, in registers: 32 of them hold 12 x 2 sums, 16 hold 4 x 2.
constexpr size_t kVectors = 2;
constexpr size_t kRows = kVectors * kLanesF32;
constexpr size_t kQueries = kRegisters == 32 ? kScanTile : 4;

}  // namespace

// codes, bounds: those of `kRows` rows of a block; packed: Q queries, query_stride words apart;
// out: Q words, bit r of word q is set where row r passes query q.
template <size_t Q>
FIRTH_INLINE void tile(const uint8_t* codes, const float* bounds, size_t units,
                       const int32_t* packed, size_t query_stride, const ScanQuery* queries,
                       uint32_t* out) {
    i32xN sums[Q][kVectors];
#pragma GCC unroll 16
    for (size_t q = 0; q < Q; q++)
#pragma GCC unroll 2
        for (size_t v = 0; v < kVectors; v++) sums[q][v] = set1(queries[q].start);
    for (size_t u = 0; u < units; u++) {
        BytesXN rows[kVectors];
#pragma GCC unroll 2
        for (size_t v = 0; v < kVectors; v++)
            rows[v] =
                split_bytes(load((const int32_t*)(codes + u * 4 * kCodeBlock) + v * kLanesF32));
#pragma GCC unroll 16
        for (size_t q = 0; q < Q; q++) {
            const int32_t* code = packed + q * query_stride + u * kCodeWords;
#pragma GCC unroll 2
            for (size_t v = 0; v < kVectors; v++) sums[q][v] = dot_bytes(rows[v], code, sums[q][v]);
        }
    }
    f32xN scale[kVectors], bias[kVectors], bound[kVectors];
#pragma GCC unroll 2
    for (size_t v = 0; v < kVectors; v++) {
        scale[v] = load(bounds + v * kLanesF32);
        bias[v] = load(bounds + kCodeBlock + v * kLanesF32);
        bound[v] = load(bounds + 2 * kCodeBlock + v * kLanesF32);
    }
#pragma GCC unroll 16
    for (size_t q = 0; q < Q; q++) {
        const f32xN step = set1(queries[q].inverse_step), reach = set1(queries[q].reach),
                    threshold = set1(queries[q].threshold);
        uint32_t bits = 0;
#pragma GCC unroll 2
        for (size_t v = 0; v < kVectors; v++) {
            const f32xN most =
                fma(bound[v], reach, fma(bias[v], step, scale[v] * to_f32(sums[q][v])));
            bits |= mask_bits(most >= threshold) << (v * kLanesF32);
        }
        out[q] = bits;
    }
}

template <size_t Q>
FIRTH_INLINE void tile_of(size_t count, const uint8_t* codes, const float* bounds, size_t units,
                          const int32_t* packed, size_t query_stride, const ScanQuery* queries,
                          uint32_t* out) {
    if constexpr (Q > 1)
        if (count < Q)
            return tile_of<Q - 1>(count, codes, bounds, units, packed, query_stride, queries, out);
    tile<Q>(codes, bounds, units, packed, query_stride, queries, out);
}

// codes: count x stride signed bytes, zeros from the dimension up to 4 units; packed: count x units
// x kCodeWords words.
void pack_codes(const int8_t* codes, size_t stride, size_t count, size_t units, int32_t* packed) {
    for (size_t q = 0; q < count; q++)
        for (size_t u = 0; u < units; u++)
            store_code(codes + q * stride + 4 * u, packed + (q * units + u) * kCodeWords);
}

// codes: blocks x units x 32 x 4 bytes; bounds: blocks x 3 x 32 (scale, bias, bound of each row);
// packed: count queries of units words of codes, |code| <= kCodeLimit; hits: room for 32 blocks x
// count. Returns how many (query, row) pass, in no order that matters.
size_t scan_codes(const uint8_t* codes, const float* bounds, size_t blocks, size_t units,
                  const int32_t* packed, const ScanQuery* queries, size_t count, ScanHit* hits) {
    const size_t query_stride = units * kCodeWords, tiles = (count + kQueries - 1) / kQueries;
    size_t found = 0;
    for (size_t t = 0; t < tiles; t++) {
        // Tiles as equal as they can be: 16 queries are 8 and 8, not 12 and 4.
        const size_t first = t * count / tiles, members = (t + 1) * count / tiles - first;
        for (size_t b = 0; b < blocks; b++)
            for (size_t r = 0; r < kCodeBlock; r += kRows) {
                uint32_t bits[kQueries];
                tile_of<kQueries>(members, codes + (b * units * kCodeBlock + r) * 4,
                                  bounds + b * 3 * kCodeBlock + r, units,
                                  packed + first * query_stride, query_stride, queries + first,
                                  bits);
                for (size_t q = 0; q < members; q++)
                    for (uint32_t rest = bits[q]; rest; rest &= rest - 1)
                        hits[found++] = {
                            (uint32_t)(first + q),
                            (uint32_t)(b * kCodeBlock + r + (size_t)__builtin_ctz(rest))};
            }
    }
    return found;
}

}  // namespace firth::FIRTH_LEVEL
