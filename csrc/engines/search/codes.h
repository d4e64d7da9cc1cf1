// Byte codes of rows and queries, and the bound that makes a search by them exact: the
// derivation, every rounding included, is in python/firth/kernels/byte_codes.py.
#pragma once
#include <vector>

#include "kernels.h"
#include "memory.h"
#include "sizes.h"

namespace firth::search {

// With more dimensions the sum of products could overflow 32 bits: no codes.
constexpr size_t kMostCodedDimensions = 66000;

// A float32 that is not less (not greater) than x.
float above(double x);
float below(double x);

// Queries in float64 as exact_scores_f32 takes them.
class ExactQueries {
  public:
    // queries: count x n at stride
    ExactQueries(const Kernels& kernels, int metric, const float* queries, ptrdiff_t stride,
                 size_t count, size_t n);
    const double* row(size_t q) const {
        return reinterpret_cast<const double*>(data_.data()) + q * stride;
    }

    size_t count, n, stride;
    std::vector<double> norms;

  private:
    AlignedBuffer data_;
};

// Words of a packed query of n dimensions.
inline size_t packed_words(const Kernels& kernels, size_t n) {
    return round_up(divide_up(n, 4), kernels.code_units) * kernels.code_words;
}

// Queries coded against one centre.
class CodedQueries {
  public:
    // members: which of the queries, in the order of the scan; centre: n
    CodedQueries(const Kernels& kernels, int metric, const ExactQueries& queries,
                 const std::vector<size_t>& members, const float* centre);

    // Rows that may score `score` or more become hits of member i; a score of -inf: all rows.
    void require(size_t i, float score);
    void skip(size_t i);

    std::vector<ScanQuery> scan;  // of each member
    std::vector<int32_t> packed;  // members x packed_words

  private:
    int metric_;
    size_t n_;
    std::vector<double> step_, constant_, unit_;  // t; p.m or -|p'|2; |q| for inner products, or 1
    std::vector<float> everywhere_;               // a threshold that all rows reach; NaN: none does
    double scale_ = 0;  // of the centre's part of a score, which float64 rounds
};

// Which rows may score scores[q] or more. codes, bounds: whole blocks; reach: count x rows, 0 or 1.
void may_reach(const Kernels& kernels, int metric, const float* queries, size_t count, size_t n,
               const uint8_t* codes, const float* bounds, const float* centre, size_t rows,
               const float* scores, bool* reach);

}  // namespace firth::search
