// Kernels of the search: exact_scores.cpp, near_rows.cpp, near_sums.cpp, code_rows.cpp,
// scan_codes.cpp, widen.cpp.
#pragma once
#include "list.h"

namespace firth {

// Similarities of vectors; the numbers are `metric` of kernels. l2 is the negative square of
// the Euclidean distance, so that greater is better everywhere.
enum Metric { kCosine = 0, kInnerProduct = 1, kL2 = 2 };

// Coded rows are stored in blocks of kCodeBlock rows on every level.
constexpr size_t kCodeBlock = 32;

// Query coding error assumed by the row bounds; see codes.h.
constexpr double kQueryError = 1.0 / 128;

// How far below a score near_rows_f32 must look, with at most 2^20 dimensions: near_rows.cpp.
constexpr size_t kMostNearDimensions = size_t{1} << 20;
constexpr double near_margin(size_t n) { return (static_cast<double>(n) / 2 + 40) * 0x1p-24; }

// One query of a scan; what the numbers mean is derived in python/firth/kernels/byte_codes.py.
struct ScanQuery {
    int32_t start;       // -128 times the sum of its codes: undoes the offset of the rows' bytes
    float inverse_step;  // of the bias
    float reach;         // of the bound
    float threshold;     // rows at or above it are hits
};

struct ScanHit {
    uint32_t query, row;
};

// What near_sums_f32 adds up: the products of word b, less those of a, plus those of c.
struct Analogy {
    uint32_t a, b, c;
};
constexpr size_t kSumColumns = 64;  // it takes so many products of a word, or a multiple

}  // namespace firth

#define FIRTH_CODE_KERNELS(K) \
    K(void, pack_codes, \
      (const int8_t* codes, size_t stride, size_t count, size_t units, int32_t* packed)) \
    K(size_t, scan_codes, \
      (const uint8_t* codes, const float* bounds, size_t blocks, size_t units, \
       const int32_t* packed, const ScanQuery* queries, size_t count, ScanHit* hits))

#define FIRTH_SEARCH_KERNELS(K) \
    K(void, code_rows_f32, \
      (const float* keys, ptrdiff_t stride, size_t rows, size_t n, int metric, \
       const float* centre, double slack, uint8_t* codes, float* bounds)) \
    K(void, squared_norms_f64, \
      (const float* keys, ptrdiff_t stride, size_t rows, size_t n, double* squares)) \
    K(void, exact_scores_f32, \
      (int metric, const double* queries, size_t query_stride, size_t query_count, \
       const double* query_norms, const float* keys, ptrdiff_t key_stride, size_t rows, size_t n, \
       float* scores, size_t score_stride)) \
    K(size_t, near_rows_f32, \
      (const float* queries, size_t query_stride, size_t count, const float* least, \
       const float* keys, ptrdiff_t key_stride, size_t rows, size_t n, ScanHit* hits)) \
    K(size_t, near_sums_f32, \
      (const float* products, size_t columns, const Analogy* analogies, size_t count, \
       const float* least, ScanHit* hits)) \
    K(void, widen_rows_f16, \
      (const uint16_t* keys, ptrdiff_t stride, size_t rows, size_t n, float* out, \
       size_t out_stride)) \
    K(void, widen_rows_bf16, \
      (const uint16_t* keys, ptrdiff_t stride, size_t rows, size_t n, float* out, \
       size_t out_stride)) \
    K(void, widen_rows_i8, \
      (const int8_t* keys, ptrdiff_t stride, const float* scales, size_t rows, size_t n, \
       float* out, size_t out_stride))

FIRTH_DECLARE_REFINED(FIRTH_CODE_KERNELS(FIRTH_DECLARE))
FIRTH_DECLARE_LIST(FIRTH_SEARCH_KERNELS(FIRTH_DECLARE))
