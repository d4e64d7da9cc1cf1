// Batch norm: y = xn weight + bias, xn = (x - mean) / sqrt(variance + eps), over the batch and all
// positions of each channel. Backward, with n of these:
//   dbias = sum dy    dweight = sum dy xn
//   dx = weight / sqrt(variance + eps) (dy - dbias / n - xn dweight / n), the last two in training
#include <math.h>

#include <initializer_list>

#include "engines/nn/operation.h"
#include "memory.h"

namespace firth::nn {
namespace {

enum Option { kTraining, kMomentum, kEps, kOptions };
enum Input { kX, kWeight, kBias, kMean, kVariance, kBatches, kInputs };

struct Shape {
    size_t images, channels, positions;
};

Shape shape_of(const Array& x) {
    size_t positions = 1;
    for (size_t i = 2; i < x.axes; i++) positions *= x.shape[i];
    return {x.shape[0], x.shape[1], positions};
}

// body(shape of rows, first element, channel) for the channels, alone or, where neighbours are of
// different channels, a vector of them at a time.
template <class T, class Body>
void for_channels(const Call& c, const Body& body) {
    const Shape s = shape_of(c.in[kX]);
    const bool columns = s.positions == 1;
    const size_t lanes = columns ? c.kernels.vector_bytes / sizeof(T) : 1;
    const size_t groups = divide_up(s.channels, lanes);
    const double cost = 2 * double(s.images) * double(columns ? lanes : s.positions);
    for_items(c, groups, cost, [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; i++) {
            const size_t channel = i * lanes, left = s.channels - channel;
            const BatchRows rows{s.images, columns ? (left < lanes ? left : lanes) : s.positions,
                                 ptrdiff_t(s.channels * s.positions), columns};
            body(rows, channel * s.positions, channel);
        }
    });
}

template <class T>
T* from(const Array& a, size_t at) {
    return a ? a.as<T>() + at : nullptr;
}

}  // namespace

// options: training, momentum (NaN: the mean over all batches), eps. in: x (N, C, ...), weight,
// bias, running mean, running variance (C), each or absent, the last two both or neither, number of
// batches (one index) or absent: forward in training changes the last three. out: y. saved: mean
// and 1 / sqrt(variance + eps) (C) that y is made with.
bool batch_norm_fits(const Call& c) {
    if (c.ins != kInputs || c.outs != 1 || c.saves != 2 || c.option_count != kOptions) return false;
    const Array &x = c.in[kX], &y = c.out[0];
    if (x.axes < 2 || !y.has_shape_of(x)) return false;
    for (size_t i = 1; i < x.axes; i++)
        if (x.shape[i] == 0) return false;
    const double momentum = c.option(kMomentum), eps = c.option(kEps);
    if (!(eps >= 0) || momentum < 0 || momentum > 1) return false;
    for (const Array* a : {&x, &y})
        if (*a && a->kind != Kind::real) return false;
    const auto of_channels = [&](const Array& a) {
        return a.axes == 1 && a.shape[0] == x.shape[1] && (!a || a.kind == Kind::real);
    };
    for (size_t i = kWeight; i <= kVariance; i++)
        if (c.in[i].there && !of_channels(c.in[i])) return false;
    if (!of_channels(c.saved[0]) || !of_channels(c.saved[1]) || !c.saved[0] || !c.saved[1])
        return false;
    const Array &mean = c.in[kMean], &variance = c.in[kVariance], &batches = c.in[kBatches];
    if (mean.there != variance.there || (!mean.there && !c.flag(kTraining))) return false;
    if (batches.there && (batches.size() != 1 || (batches && batches.kind != Kind::index)))
        return false;
    if (!c.backward) {
        for (const Array* a : {&x, &y})
            if (!*a) return false;
        for (size_t i = kWeight; i < kInputs; i++)
            if (c.in[i].there && !c.in[i]) return false;
        for (size_t i = kMean; i < kInputs; i++)
            if (c.flag(kTraining) && c.in[i] && !c.in[i].writeable) return false;
        return momentum == momentum || batches.there || !mean.there;
    }
    for (size_t i = kMean; i < kInputs; i++)
        if (c.din[i]) return false;
    const bool reads_x = c.flag(kTraining) || c.din[kWeight];
    return c.dout[0] && (!reads_x || x) && (!c.in[kWeight].there || !c.din[kX] || c.in[kWeight]);
}

template <class T>
void batch_norm_forward(const Call& c) {
    const Shape s = shape_of(c.in[kX]);
    const double n = double(s.images) * double(s.positions);
    const bool training = c.flag(kTraining);
    double momentum = c.option(kMomentum);
    if (training && c.in[kBatches]) {
        const int64_t batches = ++*c.in[kBatches].as<int64_t>();
        if (momentum != momentum) momentum = 1 / double(batches);
    }
    T *mean = c.saved[0].as<T>(), *inverse = c.saved[1].as<T>();
    const auto& kernels = c.kernels.of<T>();
    for_channels<T>(c, [&](const BatchRows& rows, size_t at, size_t channel) {
        const size_t count = rows.columns ? rows.n : 1;
        if (training) {
            if (n > 0)
                kernels.batch_statistics(rows, c.in[kX].as<T>() + at, mean + channel,
                                         inverse + channel);
            else
                for (size_t i = channel; i < channel + count; i++) mean[i] = inverse[i] = 0;
        }
        for (size_t i = channel; i < channel + count; i++) {
            if (!training) {
                mean[i] = c.in[kMean].as<T>()[i];
                inverse[i] = c.in[kVariance].as<T>()[i];
            } else if (c.in[kMean] && n > 0) {
                T &m = c.in[kMean].as<T>()[i], &v = c.in[kVariance].as<T>()[i];
                m = T((1 - momentum) * double(m) + momentum * double(mean[i]));
                v = T((1 - momentum) * double(v) + momentum * double(inverse[i]) * n / (n - 1));
            }
            inverse[i] = T(1 / sqrt(double(inverse[i]) + c.option(kEps)));
        }
        kernels.batch_scale(rows, c.in[kX].as<T>() + at, mean + channel, inverse + channel,
                            from<T>(c.in[kWeight], channel), from<T>(c.in[kBias], channel),
                            c.out[0].as<T>() + at);
    });
}

template <class T>
void batch_norm_backward(const Call& c) {
    const Shape s = shape_of(c.in[kX]);
    const T n = T(double(s.images) * double(s.positions));
    const bool training = c.flag(kTraining), sums = training || c.din[kWeight] || c.din[kBias];
    const T *mean = c.saved[0].as<T>(), *inverse = c.saved[1].as<T>();
    const T *dy = c.dout[0].as<T>(), *x = c.in[kX].as<T>();
    const auto& kernels = c.kernels.of<T>();
    for_channels<T>(c, [&](const BatchRows& rows, size_t at, size_t channel) {
        constexpr size_t most = 64;  // lanes of any level
        T first[most], second[most];
        const size_t count = rows.columns ? rows.n : 1;
        if (sums)
            kernels.batch_norm_sums(rows, dy + at, x ? x + at : dy + at, mean + channel,
                                    inverse + channel, first, second);
        const auto put = [](T* to, T value, bool add) { *to = add ? *to + value : value; };
        for (size_t i = 0; i < count; i++) {
            if (c.din[kWeight])
                put(c.din[kWeight].as<T>() + channel + i, second[i], c.adds(kWeight));
            if (c.din[kBias]) put(c.din[kBias].as<T>() + channel + i, first[i], c.adds(kBias));
            first[i] = training ? first[i] / n : 0;
            second[i] = training ? second[i] / n : 0;
        }
        if (c.din[kX] && s.images)
            kernels.batch_norm_backward(rows, dy + at, training ? x + at : nullptr, mean + channel,
                                        inverse + channel, from<T>(c.in[kWeight], channel),
                                        training ? first : nullptr, second, c.din[kX].as<T>() + at,
                                        c.adds(kX));
    });
}

#define FIRTH_INSTANTIATE(T) \
    template void batch_norm_forward<T>(const Call&); \
    template void batch_norm_backward<T>(const Call&);
FIRTH_INSTANTIATE(float)
FIRTH_INSTANTIATE(double)

}  // namespace firth::nn
