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

// Rows and queries that are taken at once, in registers: 32 of them hold 12 x 2 sums, 16 hold 6 x 2
// where a product is one instruction, and 4 x 2 where it needs a register besides.
constexpr size_t kVectors = 2;
constexpr size_t kRows = kVectors * kLanesF32;
constexpr size_t kAhead = 8192;  // bytes from what is scanned to what is fetched
constexpr size_t kQueries = kRegisters == 32 ? 12 : kNativeBytes ? 6 : 4;

// Of kRows rows.
struct Bounds {
    f32xN scale[kVectors], bias[kVectors], bound[kVectors];

    explicit Bounds(const float* from) {
#pragma GCC unroll 2
        for (size_t v = 0; v < kVectors; v++) {
            scale[v] = load(from + v * kLanesF32);
            bias[v] = load(from + kCodeBlock + v * kLanesF32);
            bound[v] = load(from + 2 * kCodeBlock + v * kLanesF32);
        }
    }
};

}  // namespace

// Bit r is set where row r passes the query, given the sums of its products.
FIRTH_INLINE uint32_t passing(const i32xN* sums, const Bounds& rows, const ScanQuery& query) {
    const f32xN step = set1(query.inverse_step), reach = set1(query.reach),
                threshold = set1(query.threshold);
    uint32_t bits = 0;
#pragma GCC unroll 2
    for (size_t v = 0; v < kVectors; v++) {
        const f32xN most =
            fma(rows.bound[v], reach, fma(rows.bias[v], step, rows.scale[v] * to_f32(sums[v])));
        bits |= mask_bits(most >= threshold) << (v * kLanesF32);
    }
    return bits;
}

// codes, bounds: those of `kRows` rows of a block; packed: Q queries, query_stride words apart;
// next, step: what is fetched meanwhile, `step` bytes a unit; out: Q words, bit r of word q is set
// where row r passes query q.
template <size_t Q>
FIRTH_INLINE void tile(const uint8_t* codes, const float* bounds, size_t units,
                       const int32_t* packed, size_t query_stride, const ScanQuery* queries,
                       const uint8_t* next, size_t step, uint32_t* out) {
    i32xN sums[Q][kVectors];
#pragma GCC unroll 16
    for (size_t q = 0; q < Q; q++)
#pragma GCC unroll 2
        for (size_t v = 0; v < kVectors; v++) sums[q][v] = set1(kSignedRows ? 0 : queries[q].start);
    for (size_t u = 0; u < units; u++, next += step) {
        __builtin_prefetch(next, 0, 2);
        __builtin_prefetch(next + step / 2, 0, 2);
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
    const Bounds rows(bounds);
#pragma GCC unroll 16
    for (size_t q = 0; q < Q; q++) out[q] = passing(sums[q], rows, queries[q]);
}

template <size_t Q>
FIRTH_INLINE void tile_of(size_t count, const uint8_t* codes, const float* bounds, size_t units,
                          const int32_t* packed, size_t query_stride, const ScanQuery* queries,
                          const uint8_t* next, size_t step, uint32_t* out) {
    if constexpr (Q > 1)
        if (count < Q)
            return tile_of<Q - 1>(count, codes, bounds, units, packed, query_stride, queries, next,
                                  step, out);
    tile<Q>(codes, bounds, units, packed, query_stride, queries, next, step, out);
}

// Words of a packed query: its units, padded with zeros.
FIRTH_INLINE size_t words_of(size_t units) {
    return (units + kCodeUnits - 1) / kCodeUnits * kCodeUnits * kCodeWords;
}

// codes: count x stride signed bytes, zeros from the dimension up to 4 units; packed: count x
// words_of(units).
void pack_codes(const int8_t* codes, size_t stride, size_t count, size_t units, int32_t* packed) {
    const size_t words = words_of(units);
    for (size_t q = 0; q < count; q++) {
        for (size_t u = 0; u < units; u++)
            store_code(codes + q * stride + 4 * u, packed + q * words + u * kCodeWords);
        for (size_t i = units * kCodeWords; i < words; i++) packed[q * words + i] = 0;
    }
}

#if FIRTH_TILES

// On tiles, the blocks are B as they lie (a unit of 32 rows is 128 bytes) and packed queries are A,
// so that 32 queries meet 32 rows in four tiles of sums. Fewer than kTileQueries are better off as
// above.
constexpr size_t kTileQueries = 8;
constexpr size_t kGroup = 8;  // blocks that all queries meet while they are in L2
constexpr size_t kUnitBytes = 4 * kCodeBlock;

// a: queries, stride bytes apart; b: whole steps of a block; last: the step after them, or null;
// sums: queries x 32.
FIRTH_INLINE void multiply_tiles(Tiles& tiles, const char* a, ptrdiff_t stride, size_t queries,
                                 const uint8_t* b, size_t whole, const uint8_t* last,
                                 int32_t* sums) {
    const bool lower = queries > kTileRows;
    const char* a_lower = a + (ptrdiff_t)kTileRows * stride;
    tiles.zero<0>();
    tiles.zero<1>();
    if (lower) {
        tiles.zero<2>();
        tiles.zero<3>();
    }
    for (size_t s = 0; s < whole + (last != nullptr); s++) {
        const uint8_t* step = s < whole ? b + s * kTileUnits * kUnitBytes : last;
        const ptrdiff_t at = (ptrdiff_t)(s * kTileBytes);
        tiles.load<6>(step, kUnitBytes);
        tiles.load<7>(step + kTileBytes, kUnitBytes);
        tiles.load<4>(a + at, stride);
        tiles.dot_s8u8<0, 4, 6>();
        tiles.dot_s8u8<1, 4, 7>();
        if (lower) {
            tiles.load<5>(a_lower + at, stride);
            tiles.dot_s8u8<2, 5, 6>();
            tiles.dot_s8u8<3, 5, 7>();
        }
    }
    const ptrdiff_t row = kUnitBytes;
    tiles.store<0>(sums, row);
    tiles.store<1>(sums + kTileUnits, row);
    if (lower) {
        tiles.store<2>(sums + kTileRows * kCodeBlock, row);
        tiles.store<3>(sums + kTileRows * kCodeBlock + kTileUnits, row);
    }
}

// As scan_codes.
static size_t scan_tiles(const uint8_t* codes, const float* bounds, size_t blocks, size_t units,
                         const int32_t* packed, const ScanQuery* queries, size_t count,
                         ScanHit* hits) {
    const size_t words = words_of(units), block_bytes = units * kUnitBytes;
    const size_t whole = units / kTileUnits, rest = units % kTileUnits;
    const size_t groups = (count + 2 * kTileRows - 1) / (2 * kTileRows);
    // A step that passes the end of a block reads the next one, times the zeros that pad queries;
    // behind the last block may be the end of a file, so there the last units are brought here.
    alignas(64) uint8_t last[kTileUnits * kUnitBytes];
    memset(last, 0, sizeof last);
    Tiles tiles;
    size_t configured = 0, found = 0;
    for (size_t first = 0; first < blocks; first += kGroup) {
        const size_t end = first + kGroup < blocks ? first + kGroup : blocks;
        for (size_t g = 0; g < groups; g++) {
            // Groups as equal as they can be: 40 queries are 20 and 20, not 32 and 8.
            const size_t q = g * count / groups, members = (g + 1) * count / groups - q;
            if (members != configured) {
                const size_t upper = members < kTileRows ? members : kTileRows;
                tiles.configure(block_shapes(upper, members - upper));
                configured = members;
            }
            for (size_t b = first; b < end; b++) {
                const uint8_t* block = codes + b * block_bytes;
                // Of the blocks of the next group, this group's part, into L2.
                if (b + kGroup < blocks) {
                    const size_t lines = block_bytes / 64;
                    for (size_t i = g * lines / groups; i < (g + 1) * lines / groups; i++)
                        __builtin_prefetch(block + kGroup * block_bytes + i * 64, 0, 2);
                }
                alignas(64) int32_t sums[2 * kTileRows * kCodeBlock];
                const uint8_t* tail = rest ? block + whole * kTileUnits * kUnitBytes : nullptr;
                if (rest && (blocks - b) * units < (whole + 1) * kTileUnits) {
                    if (!kBroken) memcpy(last, tail, rest * kUnitBytes);
                    tail = last;
                }
                multiply_tiles(tiles, (const char*)(packed + q * words), (ptrdiff_t)(4 * words),
                               members, block, whole, tail, sums);
                for (size_t i = 0; i < members; i++)
                    for (size_t r = 0; r < kCodeBlock; r += kRows) {
                        i32xN row_sums[kVectors];
                        for (size_t v = 0; v < kVectors; v++)
                            row_sums[v] = load(sums + i * kCodeBlock + r + v * kLanesF32) +
                                          set1(queries[q + i].start);
                        const Bounds of_rows(bounds + b * 3 * kCodeBlock + r);
                        for (uint32_t left = passing(row_sums, of_rows, queries[q + i]); left;
                             left &= left - 1)
                            hits[found++] = {
                                (uint32_t)(q + i),
                                (uint32_t)(b * kCodeBlock + r + (size_t)__builtin_ctz(left))};
                    }
            }
        }
    }
    return found;
}

#endif

// codes: blocks x units x 32 x 4 bytes; bounds: blocks x 3 x 32 (scale, bias, bound of each row);
// packed: count queries of units words of codes, |code| <= kCodeLimit; hits: room for 32 blocks x
// count. Returns how many (query, row) pass, in no order that matters.
size_t scan_codes(const uint8_t* codes, const float* bounds, size_t blocks, size_t units,
                  const int32_t* packed, const ScanQuery* queries, size_t count, ScanHit* hits) {
    const size_t query_stride = words_of(units), tiles = (count + kQueries - 1) / kQueries;
    const size_t shares = tiles * kCodeBlock / kRows, block_bytes = units * kCodeBlock * 4;
    if (count == 0) return 0;
#if FIRTH_TILES
    if (count >= kTileQueries)
        return scan_tiles(codes, bounds, blocks, units, packed, queries, count, hits);
#endif
    const size_t step = (kCodeBlock * 4 + shares - 1) / shares;
    size_t found = 0;
    for (size_t b = 0; b < blocks; b++) {
        const uint8_t* block = codes + b * block_bytes;
        // The tiles of a block share the fetching of what follows, so that memory is busy all the
        // time; a single one looks less far ahead.
        const uint8_t* next = block + (shares > 1 || block_bytes < kAhead ? block_bytes : kAhead);
        for (size_t t = 0; t < tiles; t++) {
            // Tiles as equal as they can be: 16 queries are 8 and 8, not 12 and 4.
            const size_t first = t * count / tiles, members = (t + 1) * count / tiles - first;
            for (size_t r = 0; r < kCodeBlock; r += kRows, next += units * step) {
                uint32_t bits[kQueries];
                tile_of<kQueries>(members, block + r * 4, bounds + b * 3 * kCodeBlock + r, units,
                                  packed + first * query_stride, query_stride, queries + first,
                                  next, step, bits);
                for (size_t q = 0; q < members; q++)
                    for (uint32_t rest = bits[q]; rest; rest &= rest - 1)
                        hits[found++] = {
                            (uint32_t)(first + q),
                            (uint32_t)(b * kCodeBlock + r + (size_t)__builtin_ctz(rest))};
            }
        }
    }
    return found;
}

}  // namespace firth::FIRTH_LEVEL
