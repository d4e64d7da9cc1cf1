#include "engines/search/codes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace firth::search {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNever = std::numeric_limits<float>::quiet_NaN();  // nothing is at or above it
constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer

}  // namespace

float above(double x) {
    const auto near = static_cast<float>(x);
    return near < x ? std::nextafter(near, kInfinity) : near;
}
float below(double x) { return -above(-x); }

ExactQueries::ExactQueries(const Kernels& kernels, int metric, const float* queries,
                           ptrdiff_t query_stride, size_t query_count, size_t length)
    : count(query_count),
      n(length),
      stride((length + 15) / 16 * 16),
      norms(query_count, 1.0),
      data_(query_count * stride * sizeof(double)) {
    for (size_t q = 0; q < count; q++) {
        const float* query = queries + static_cast<ptrdiff_t>(q) * query_stride;
        auto* out = reinterpret_cast<double*>(data_.data()) + q * stride;
        std::copy_n(query, n, out);
        std::fill(out + n, out + stride, 0.0);
        if (metric == kL2) continue;
        kernels.squared_norms_f64(query, 0, 1, n, &norms[q]);
        norms[q] = std::sqrt(norms[q]);
    }
}

CodedQueries::CodedQueries(const Kernels& kernels, int metric, const ExactQueries& queries,
                           const std::vector<size_t>& members, const float* centre)
    : scan(members.size()),
      metric_(metric),
      n_(queries.n),
      step_(members.size()),
      constant_(members.size()),
      unit_(members.size(), 1.0),
      everywhere_(members.size(), -kInfinity) {
    const size_t units = (n_ + 3) / 4;
    std::vector<int8_t> codes(members.size() * units * 4, 0);
    packed.resize(members.size() * packed_words(kernels, n_));
    for (size_t i = 0; i < n_; i++) scale_ += static_cast<double>(centre[i]) * centre[i];
    scale_ = metric == kCosine ? 2 : std::sqrt(scale_);
    std::vector<double> rest(n_);
    for (size_t m = 0; m < members.size(); m++) {
        const double* query = queries.row(members[m]);
        const double norm = queries.norms[members[m]];
        const double unit = metric == kL2 ? 1 : norm > 0 ? 1 / norm : 0;
        if (metric == kInnerProduct) unit_[m] = norm;
        double most = 0, product = 0, square = 0;
        for (size_t i = 0; i < n_; i++) {
            rest[i] = query[i] * unit - centre[i];
            most = std::max(most, std::fabs(rest[i]));
            product += query[i] * unit * centre[i];
            square += rest[i] * rest[i];
        }
        constant_[m] = metric == kL2 ? -square : product;
        const double step = most / kernels.code_limit;
        if (!(norm < std::numeric_limits<double>::infinity())) {  // NaN or inf: nothing is near
            step_[m] = 0;
            everywhere_[m] = kNever;
            scan[m] = {0, 0, 0, kNever};
            continue;
        }
        // A query that is zero, the centre itself or (l2) far out has no codes: every row passes.
        if (norm == 0 || !(step >= 0x1p-40 && step <= 0x1p30)) {
            step_[m] = 0;
            scan[m] = {0, 0, 1, -kInfinity};  // reach 1: the bound of a row may be infinite
            continue;
        }
        int8_t* code = codes.data() + m * units * 4;
        const double inverse = 1 / step;
        double error = 0, length = 0;
        int32_t sum = 0;
        for (size_t i = 0; i < n_; i++) {
            const double nearest = (rest[i] * inverse + kMagic) - kMagic;
            code[i] = static_cast<int8_t>(nearest);
            sum += code[i];
            length += nearest * nearest;
            error += (rest[i] - nearest * step) * (rest[i] - nearest * step);
        }
        const double reach = std::max(std::sqrt(length) * step, std::sqrt(error) / kQueryError);
        step_[m] = step;
        // The last term: what the sums of products in float64 can be wrong by, as a part of |y'|.
        const double sums = metric == kL2 ? 0 : 0x1p-18;
        scan[m] = {-128 * sum, static_cast<float>(1 / step),
                   above((reach * (1 + 1e-9) + sums) / step), -kInfinity};
    }
    kernels.pack_codes(codes.data(), units * 4, members.size(), units, packed.data());
}

void CodedQueries::require(size_t i, float required) {
    if (step_[i] == 0 || required == -kInfinity) {
        scan[i].threshold = everywhere_[i];
        return;
    }
    const double score = std::min(required, std::numeric_limits<float>::max());  // inf is more
    const double wanted = score - std::fabs(score) * 0x1.01p-24 - 0x1p-149;
    double least;
    if (metric_ == kL2)
        least = (wanted - std::fabs(wanted) * 0x1p-30 - constant_[i] * (1 - 0x1p-40)) / 2;
    else
        least = wanted / unit_[i] - constant_[i] - 0x1p-36 * scale_;
    scan[i].threshold = below(least / step_[i] - std::fabs(least / step_[i]) * 0x1p-40 - 0x1p-140);
}

void CodedQueries::skip(size_t i) { scan[i].threshold = kNever; }

void may_reach(const Kernels& kernels, int metric, const float* queries, size_t count, size_t n,
               const uint8_t* codes, const float* bounds, const float* centre, size_t rows,
               const float* scores, bool* reach) {
    const ExactQueries exact(kernels, metric, queries, static_cast<ptrdiff_t>(n), count, n);
    std::vector<size_t> members(count);
    std::iota(members.begin(), members.end(), size_t{0});
    CodedQueries coded(kernels, metric, exact, members, centre);
    for (size_t q = 0; q < count; q++) coded.require(q, scores[q]);
    std::fill_n(reach, count * rows, false);
    const size_t units = (n + 3) / 4;
    std::vector<ScanHit> hits(kCodeBlock * count);
    for (size_t block = 0; block * kCodeBlock < rows; block++) {
        const size_t found = kernels.scan_codes(
            codes + block * units * kCodeBlock * 4, bounds + block * 3 * kCodeBlock, 1, units,
            coded.packed.data(), coded.scan.data(), count, hits.data());
        for (size_t h = 0; h < found; h++)
            if (block * kCodeBlock + hits[h].row < rows)
                reach[hits[h].query * rows + block * kCodeBlock + hits[h].row] = true;
    }
}

}  // namespace firth::search
