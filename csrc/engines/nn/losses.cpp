// Losses of elements: of the difference between two arrays, and of a probability given as a logit.
#include "engines/nn/losses.h"

#include <algorithm>

#include "memory.h"

namespace firth::nn {
namespace {

constexpr size_t kBlock = 4096;  // elements whose losses make one term of the sum
constexpr double kCost = 3;      // of an element, in operations of for_items

// body(block, begin, end) over blocks of n elements.
template <class Body>
void for_blocks(const Call& call, size_t n, double cost, const Body& body) {
    for_items(call, divide_up(n, kBlock), kBlock * cost, [&](size_t first, size_t last) {
        for (size_t b = first; b < last; b++) body(b, b * kBlock, std::min(n, (b + 1) * kBlock));
    });
}

// The reduction of losses: sum_block(begin, end, out) writes each loss to out unless that is null,
// and returns their sum.
template <class T, class Body>
void reduce(const Call& c, size_t n, const Body& sum_block) {
    const Scratch scratch(divide_up(n, kBlock) * sizeof(double));
    double* const parts = scratch.data<double>();
    T* const each = c.option(0) == kEach ? c.out[0].as<T>() : nullptr;
    for_blocks(c, n, kCost, [&](size_t b, size_t begin, size_t end) {
        parts[b] = sum_block(begin, end, each ? each + begin : nullptr);
    });
    if (each) return;
    double sum = 0;
    for (size_t b = 0; b < divide_up(n, kBlock); b++) sum += parts[b];
    *c.out[0].as<T>() = T(c.option(0) == kMean ? sum / double(n) : sum);
}

// By what every element's gradient is multiplied, and those by the losses where each is a result.
template <class T>
T factor_of(const Call& c, size_t n) {
    if (c.option(0) == kEach) return T(1);
    return T(double(*c.dout[0].as<T>()) / (c.option(0) == kMean ? double(n) : 1));
}
template <class T>
const T* each_of(const Call& c) {
    return c.option(0) == kEach ? c.dout[0].as<T>() : nullptr;
}

bool real(const Array& a) { return a && a.kind == Kind::real; }

}  // namespace

// ---- difference_loss ----------------------------------------------------------------------------

// options: reduction, which function (0 square, 1 absolute, 2 Huber's), its delta, a factor. in: x,
// y of one shape; out: the loss, or one for each element.
bool difference_loss_fits(const Call& c) {
    if (c.ins != 2 || c.outs != 1 || c.saves != 0 || c.option_count != 4) return false;
    const Array &x = c.in[0], &y = c.in[1];
    return x.has_shape_of(y) && fits_reduction(c.option(0), c.out[0], x.axes, x.shape) &&
           is_whole(c.option(1), 0, 2) && real(x) && real(y) &&
           (c.backward ? bool(c.dout[0]) : real(c.out[0]));
}

template <class T>
void difference_loss_forward(const Call& c) {
    const T *const x = c.in[0].as<T>(), *const y = c.in[1].as<T>();
    const int kind = int(c.option(1));
    const double factor = c.option(3);
    reduce<T>(c, c.in[0].size(), [&](size_t begin, size_t end, T* out) {
        const double sum = c.kernels.of<T>().difference_loss(x + begin, y + begin, out, end - begin,
                                                             kind, T(c.option(2)));
        if (out && factor != 1) c.kernels.of<T>().scale(out, T(factor), out, end - begin, false);
        return sum * factor;
    });
}

template <class T>
void difference_loss_backward(const Call& c) {
    const size_t n = c.in[0].size();
    const T *const x = c.in[0].as<T>(), *const y = c.in[1].as<T>(), *const each = each_of<T>(c);
    const T factor = T(double(factor_of<T>(c, n)) * c.option(3));
    const int kind = int(c.option(1));
    for_blocks(c, n, kCost, [&](size_t, size_t begin, size_t end) {
        for (size_t a = 0; a < 2; a++)  // f is even: by y it is the same with x and y exchanged
            if (c.din[a])
                c.kernels.of<T>().difference_loss_backward(
                    (a ? y : x) + begin, (a ? x : y) + begin, each ? each + begin : nullptr, factor,
                    c.din[a].as<T>() + begin, end - begin, kind, T(c.option(2)), c.adds(a));
    });
}

// ---- binary_cross_entropy_with_logits -----------------------------------------------------------

// options: reduction. in: x, y of one shape, weight and positive weight: absent, or of a shape that
// is the end of that; out: the loss, or one for each element.
bool binary_cross_entropy_with_logits_fits(const Call& c) {
    if (c.ins != 4 || c.outs != 1 || c.saves != 0 || c.option_count != 1) return false;
    const Array &x = c.in[0], &y = c.in[1];
    for (size_t a = 2; a < 4; a++) {
        const Array& w = c.in[a];
        if (!w.there) continue;
        if (!real(w) || w.axes > x.axes ||
            memcmp(w.shape, x.shape + (x.axes - w.axes), w.axes * sizeof *w.shape))
            return false;
    }
    return x.has_shape_of(y) && fits_reduction(c.option(0), c.out[0], x.axes, x.shape) && real(x) &&
           real(y) &&
           (c.backward ? c.dout[0] && !c.din[1] && !c.din[2] && !c.din[3] : real(c.out[0]));
}

namespace {

// body(weight, positive) with those of the elements from begin to end, or null.
template <class T, class Body>
auto with_weights(const Call& c, size_t begin, size_t end, const Body& body) {
    const Scratch scratch(2 * kBlock * sizeof(T));
    const T* found[2] = {};
    for (size_t a = 0; a < 2; a++) {
        const Array& w = c.in[2 + a];
        if (!w) continue;
        found[a] = w.as<T>() + begin;
        if (w.size() == c.in[0].size()) continue;
        T* const repeated = scratch.data<T>() + a * kBlock;
        const size_t count = end - begin, at = begin % w.size();
        size_t done = std::min(count, w.size());  // once, from where it begins; then it doubles
        const size_t before = std::min(done, w.size() - at);
        std::copy_n(w.as<T>() + at, before, repeated);
        std::copy_n(w.as<T>(), done - before, repeated + before);
        for (; done < count; done = std::min(count, 2 * done))
            std::copy_n(repeated, std::min(done, count - done), repeated + done);
        found[a] = repeated;
    }
    return body(found[0], found[1]);
}

}  // namespace

template <class T>
void binary_cross_entropy_with_logits_forward(const Call& c) {
    const T *const x = c.in[0].as<T>(), *const y = c.in[1].as<T>();
    reduce<T>(c, c.in[0].size(), [&](size_t begin, size_t end, T* out) {
        return with_weights<T>(c, begin, end, [&](const T* weight, const T* positive) {
            return c.kernels.of<T>().logistic_loss(x + begin, y + begin, weight, positive, out,
                                                   end - begin);
        });
    });
}

template <class T>
void binary_cross_entropy_with_logits_backward(const Call& c) {
    if (!c.din[0]) return;
    const size_t n = c.in[0].size();
    const T *const x = c.in[0].as<T>(), *const y = c.in[1].as<T>(), *const each = each_of<T>(c);
    const T factor = factor_of<T>(c, n);
    for_blocks(c, n, kCost, [&](size_t, size_t begin, size_t end) {
        with_weights<T>(c, begin, end, [&](const T* weight, const T* positive) {
            c.kernels.of<T>().logistic_loss_backward(
                x + begin, y + begin, weight, positive, each ? each + begin : nullptr, factor,
                c.din[0].as<T>() + begin, end - begin, c.adds(0));
        });
    });
}

#define FIRTH_INSTANTIATE(T) \
    template void difference_loss_forward<T>(const Call&); \
    template void difference_loss_backward<T>(const Call&); \
    template void binary_cross_entropy_with_logits_forward<T>(const Call&); \
    template void binary_cross_entropy_with_logits_backward<T>(const Call&);
FIRTH_INSTANTIATE(float)
FIRTH_INSTANTIATE(double)

}  // namespace firth::nn
