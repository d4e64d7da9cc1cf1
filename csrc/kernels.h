// THE LIST: one row per kernel, and `struct Kernels`, the table that each ISA level fills. No code.
//
// To add a kernel: one row here, a file csrc/kernels/<name>.cpp that defines it, one binding in
// src/bind_kernels.cpp. A level that lacks a kernel is a link error (kernels/table.cpp).
//
// Sizes and strides are in elements. "rows x n" means `rows` rows of `n` contiguous elements.
#pragma once
#include <stddef.h>
#include <stdint.h>

// K(return type, name, (parameters)); shapes and layout stand above each definition.
#define FIRTH_KERNELS(K) \
    K(void, dot_f32, \
      (const float* a, ptrdiff_t a_stride, const float* b, ptrdiff_t b_stride, float* out, \
       size_t rows, size_t n)) \
    K(void, dot_f64, \
      (const double* a, ptrdiff_t a_stride, const double* b, ptrdiff_t b_stride, double* out, \
       size_t rows, size_t n)) \
    K(void, gemm_f32, \
      (const void* a, const void* b, float* c, ptrdiff_t c_stride, size_t m, size_t n, size_t k, \
       bool accumulate)) \
    K(void, gemm_bf16, \
      (const void* a, const void* b, float* c, ptrdiff_t c_stride, size_t m, size_t n, size_t k, \
       bool accumulate)) \
    K(void, gemm_row_f32, \
      (const float* a, const float* b, ptrdiff_t b_stride, float* c, size_t n, size_t k, \
       bool accumulate)) \
    K(void, gemm_pack_a, (const void* src, ptrdiff_t stride, void* dst, size_t m, size_t bytes)) \
    K(void, gemm_pack_b_transposed, \
      (const void* src, ptrdiff_t stride, void* dst, size_t n, size_t bytes)) \
    K(void, gemm_pack_b_f32, (const float* src, ptrdiff_t stride, void* dst, size_t k, size_t n)) \
    K(void, gemm_pack_b_bf16, \
      (const uint16_t* src, ptrdiff_t stride, void* dst, size_t k, size_t n)) \
    K(void, gemm_pack_a_transposed_f32, \
      (const float* src, ptrdiff_t stride, void* dst, size_t k, size_t m)) \
    K(void, gemm_pack_a_transposed_bf16, \
      (const uint16_t* src, ptrdiff_t stride, void* dst, size_t k, size_t m)) \
    K(void, attention_softmax_f32, \
      (float* scores, size_t keys, float scale, const float* mask, bool additive, \
       ptrdiff_t diagonal, float* state, float* out, size_t values, void* weights)) \
    K(void, attention_softmax_bf16, \
      (float* scores, size_t keys, float scale, const float* mask, bool additive, \
       ptrdiff_t diagonal, float* state, float* out, size_t values, void* weights)) \
    K(void, attention_finish_f32, \
      (const float* sums, const float* state, size_t queries, size_t values, float* out, \
       ptrdiff_t stride)) \
    K(void, attention_finish_bf16, \
      (const float* sums, const float* state, size_t queries, size_t values, uint16_t* out, \
       ptrdiff_t stride)) \
    K(void, pack_codes, \
      (const int8_t* codes, size_t stride, size_t count, size_t units, int32_t* packed)) \
    K(size_t, scan_codes, \
      (const uint8_t* codes, const float* bounds, size_t blocks, size_t units, \
       const int32_t* packed, const ScanQuery* queries, size_t count, ScanHit* hits)) \
    K(void, code_rows_f32, \
      (const float* keys, ptrdiff_t stride, size_t rows, size_t n, int metric, \
       const float* centre, double slack, uint8_t* codes, float* bounds)) \
    K(void, squared_norms_f64, \
      (const float* keys, ptrdiff_t stride, size_t rows, size_t n, double* squares)) \
    K(void, exact_scores_f32, \
      (int metric, const double* queries, size_t query_stride, size_t query_count, \
       const double* query_norms, const float* keys, ptrdiff_t key_stride, size_t rows, size_t n, \
       float* scores, size_t score_stride)) \
    K(void, widen_rows_f16, \
      (const uint16_t* keys, ptrdiff_t stride, size_t rows, size_t n, float* out, \
       size_t out_stride)) \
    K(void, widen_rows_bf16, \
      (const uint16_t* keys, ptrdiff_t stride, size_t rows, size_t n, float* out, \
       size_t out_stride)) \
    K(void, widen_rows_i8, \
      (const int8_t* keys, ptrdiff_t stride, const float* scales, size_t rows, size_t n, \
       float* out, size_t out_stride)) \
    K(void, embedding_bag_f32, \
      (const float* table, ptrdiff_t stride, const int32_t* rows, const int64_t* offsets, \
       size_t bags, const float* weights, bool normalize, size_t dim, float* out)) \
    K(void, embedding_bag_bf16, \
      (const uint16_t* table, ptrdiff_t stride, const int32_t* rows, const int64_t* offsets, \
       size_t bags, const float* weights, bool normalize, size_t dim, float* out)) \
    K(void, embedding_bag_f16, \
      (const uint16_t* table, ptrdiff_t stride, const int32_t* rows, const int64_t* offsets, \
       size_t bags, const float* weights, bool normalize, size_t dim, float* out)) \
    K(void, embedding_bag_i8, \
      (const int8_t* table, ptrdiff_t stride, const int32_t* rows, const int64_t* offsets, \
       size_t bags, const float* weights, bool normalize, size_t dim, float* out)) \
    K(void, softmax_f32, \
      (const float* x, ptrdiff_t x_stride, ptrdiff_t x_step, float* out, ptrdiff_t out_stride, \
       size_t rows, size_t n)) \
    K(void, softmax_f64, \
      (const double* x, ptrdiff_t x_stride, ptrdiff_t x_step, double* out, ptrdiff_t out_stride, \
       size_t rows, size_t n)) \
    K(void, softmax_columns_f32, \
      (const float* x, ptrdiff_t x_stride, float* out, ptrdiff_t out_stride, size_t n, \
       size_t columns)) \
    K(void, softmax_columns_f64, \
      (const double* x, ptrdiff_t x_stride, double* out, ptrdiff_t out_stride, size_t n, \
       size_t columns)) \
    K(void, log_softmax_f32, \
      (const float* x, ptrdiff_t x_stride, ptrdiff_t x_step, float* out, ptrdiff_t out_stride, \
       size_t rows, size_t n)) \
    K(void, log_softmax_f64, \
      (const double* x, ptrdiff_t x_stride, ptrdiff_t x_step, double* out, ptrdiff_t out_stride, \
       size_t rows, size_t n)) \
    K(void, log_softmax_columns_f32, \
      (const float* x, ptrdiff_t x_stride, float* out, ptrdiff_t out_stride, size_t n, \
       size_t columns)) \
    K(void, log_softmax_columns_f64, \
      (const double* x, ptrdiff_t x_stride, double* out, ptrdiff_t out_stride, size_t n, \
       size_t columns)) \
    K(void, word_window_f32, \
      (float* const* in, size_t m, float* const* out, size_t n, size_t dim, const float* labels, \
       const float* times, float rate, float* scores, float* change, float* work)) \
    K(void, word_pair_f32, \
      (float* in, float* const* out, size_t n, size_t dim, const float* labels, float rate, \
       bool steps, float* scores, float* change, float* work)) \
    K(void, cbow_window_f32, \
      (float* const* in, size_t m, float* const* positive, float* const* negative, size_t n, \
       size_t dim, const float* times, float rate, float* scores, float* change, float* work)) \
    K(void, sum_rows_f32, \
      (const float* const* rows, size_t m, size_t dim, float scale, float* out)) \
    K(void, add_to_rows_f32, \
      (float* const* rows, size_t m, size_t dim, const float* scales, float scale, \
       const float* change)) \
    K(double, glove_adagrad_f32, \
      (float* words, size_t word_stride, size_t word_plane, float* contexts, \
       size_t context_stride, size_t context_plane, const GloveRecord* records, size_t n, \
       size_t dim, float rate, float clip))

namespace firth {

// One co-occurrence as GloVe trains it: log x and f(x) are computed once.
struct GloveRecord {
    uint32_t row, column;
    float log_count, weight;
};

// Similarities of vectors; the numbers stand in `metric` of kernels. l2 is the negative square of
// the Euclidean distance, so that more is better everywhere.
enum Metric { kCosine = 0, kInnerProduct = 1, kL2 = 2 };

// Coded rows stand in blocks of so many, whatever the level; the scan takes so many queries at
// once.
constexpr size_t kCodeBlock = 32;
constexpr size_t kScanTile = 12;

// What the bound of a row takes a query's relative coding error to be; codes.h.
constexpr double kQueryError = 1.0 / 128;

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

struct Kernels {
    const char* level;  // compiled inside the level's own object: proof of which code runs
    size_t vector_bytes;
    size_t gemm_rows, gemm_columns;  // the register tile of the matrix product
    bool native_bf16;                // gemm_bf16 runs on instructions of its own: twice gemm_f32
    int code_limit;                  // greatest magnitude of a query's code in scan_codes
    size_t code_words;               // 32-bit words of a packed unit of four codes
#define FIRTH_FIELD(ret, name, parameters) ret(*name) parameters;
    FIRTH_KERNELS(FIRTH_FIELD)
#undef FIRTH_FIELD
};

#ifdef FIRTH_LEVEL  // set by CMake for the objects of one level
namespace FIRTH_LEVEL {
#define FIRTH_DECLARE(ret, name, parameters) ret name parameters;
FIRTH_KERNELS(FIRTH_DECLARE)
#undef FIRTH_DECLARE
extern const Kernels kernels;
}  // namespace FIRTH_LEVEL
#endif

}  // namespace firth
