// Bytes in the place of rows and queries, and the bound that makes a search by them exact.
//
// A score f(q, x) is the cosine (p = q/|q|, y = x/|x|), the inner product (p = q/|q|, y = x, all
// divided by |q|) or minus the squared distance (p = q, y = x), rounded once to float32. With a
// centre m (the mean of the rows, in float32) and p' = p - m, y' = y - m:
//
//     cosine, inner product    p.y  = p'.y' + m.y' + p.m          bias b = m.y'
//     l2                  -|p - y|2 = 2 (p'.y' - |y'|2/2) - |p'|2    bias b = -|y'|2/2
//
// The row is coded as y' = s c + r, c in [-127, 127], the query as p' = t e + w, so that
//
//     p'.y' = s t (c.e) + t e.r + w.y' <= s t (c.e) + |t e| |r| + |w| |y'|.
//
// c.e is an exact sum of integers (|sum| < 2^31 up to 66,000 dimensions). Divided by t, a row can
// have a score of T or more only if
//
//     s (c.e) + b / t + (F / t) B >= (T' - const) / t                                  (1)
//
// where B = |r| + k |y'| stands beside the row (k = kQueryError, a usual |w| / |t e|) and F = max(
// |t e|, |w| / k) beside the query: F B >= |t e| |r| + |w| |y'|. T' is T less what the rounding of
// f to float32 and its sums in float64 can have added.
//
// The left side of (1) is computed in float32 with at most eight roundings, each of 2^-24 of a
// partial sum, hence within 2^-21 of |s (c.e)| + |b / t| + F B / t. |s c| |e| <= (|y'| + |r|) F /
// t, so B is stored as (1 + 2^-18) (|r| + k |y'|) + 2^-19 |y'| and b as b + 2^-20 |b|, both rounded
// up: with |r| <= |y'| these are more than the roundings. y' is itself computed in float64, within
// 2^-53 (|y| + |m|) an element: 2^-48 |m| is added to B, and that times |y'| to b. A denormal
// product may lose 2^-149, so the right side is lowered by 2^-140. The test is not strict: equal
// scores are decided by label, later.
#pragma once
#include <vector>

#include "engines/gemm.h"
#include "kernels.h"

namespace firth {

// Beyond so many dimensions the sum of products could leave 32 bits: no codes.
constexpr size_t kMostCodedDimensions = 66000;

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
    std::vector<int32_t> packed;  // members x units x code_words

  private:
    int metric_;
    size_t n_;
    std::vector<double> step_, constant_, unit_;  // t; p.m or -|p'|2; |q| for inner products, or 1
    double scale_ =
        0;  // of the centre's part of a score: what its rounding in float64 is a part of
};

}  // namespace firth
