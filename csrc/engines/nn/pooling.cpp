// Pools: maxima and means of windows of planes.
#include <initializer_list>

#include "engines/nn/operation.h"

namespace firth::nn {
namespace {

enum Option { kKernels, kStrides = 2, kPads = 4, kDilations = 6, kShapeOptions = 8 };

// The windows of x (N, C, H, W) and y (N, C, H', W'), both without W where that is 1.
PoolShape shape_of(const Call& c) {
    const Array &x = c.in[0], &y = c.out[0];
    const auto length = [](const Array& a, size_t axis) {
        return axis < a.axes ? a.shape[axis] : size_t(1);
    };
    const auto option = [&](size_t at) { return size_t(c.option(at)); };
    return {length(x, 2),     length(x, 3),         length(y, 2),       length(y, 3),
            option(kKernels), option(kKernels + 1), option(kStrides),   option(kStrides + 1),
            option(kPads),    option(kPads + 1),    option(kDilations), option(kDilations + 1)};
}

size_t planes(const Array& x) { return x.shape[0] * x.shape[1]; }

// options: kernel, stride, padding and dilation, of H and W each.
bool fits(const Call& c) {
    if (c.ins != 1 || c.outs != 1) return false;
    constexpr double most = 0x1p31;
    for (size_t i = 0; i < kShapeOptions; i++) {
        const double least = i >= kPads && i < kDilations ? 0 : 1;
        if (!(c.option(i) >= least && c.option(i) < most) || c.option(i) != int64_t(c.option(i)))
            return false;
    }
    const Array &x = c.in[0], &y = c.out[0];
    if ((x.axes != 3 && x.axes != 4) || y.axes != x.axes) return false;
    for (size_t i = 0; i < x.axes; i++)
        if (double(x.shape[i]) >= most || (i < 2 && x.shape[i] != y.shape[i]) ||
            (i > 0 && x.shape[i] == 0))
            return false;
    const PoolShape s = shape_of(c);
    const auto axis = [](size_t in, size_t out, size_t kernel, size_t stride, size_t pads,
                         size_t dilation) {
        const double room = double(in) + 2 * double(pads) - double(dilation) * double(kernel - 1) -
                            1;  // exact, or far below 0
        return room >= 0 && out == size_t(room) / stride + 1;
    };
    if (!axis(s.height, s.out_height, s.kernel_y, s.stride_y, s.top, s.dilation_y) ||
        !axis(s.width, s.out_width, s.kernel_x, s.stride_x, s.left, s.dilation_x))
        return false;
    for (const Array* a : {&x, &y})
        if (*a && a->kind != Kind::real) return false;
    return c.backward ? c.dout[0] && c.din[0] : x && y;
}

// body(first, count) over ranges of the planes.
template <class Body>
void for_planes(const Call& c, const PoolShape& s, const Body& body) {
    const double windows = double(s.out_height * s.out_width) * double(s.kernel_y * s.kernel_x);
    for_items(c, planes(c.in[0]), double(s.height * s.width) + windows, body);
}

}  // namespace

// in: x (N, C, H, W); out: y (N, C, H', W'); both without W where it is 1. saved: the taps that
// gave the maxima, as y, of bytes where a window has up to 256 taps.
bool max_pool_fits(const Call& c) {
    if (c.option_count != kShapeOptions || c.saves != 1 || !fits(c)) return false;
    const Array& place = c.saved[0];
    const bool near = c.option(kKernels) * c.option(kKernels + 1) <= 256;
    return place && place.has_shape_of(c.out[0]) && place.kind == (near ? Kind::byte : Kind::index);
}

template <class T>
void max_pool_forward(const Call& c) {
    const PoolShape s = shape_of(c);
    const size_t in = s.height * s.width, out = s.out_height * s.out_width;
    const Array& place = c.saved[0];
    const bool near = place.kind == Kind::byte;
    for_planes(c, s, [&](size_t begin, size_t end) {
        c.kernels.of<T>().max_pool(s, c.in[0].as<T>() + begin * in, c.out[0].as<T>() + begin * out,
                                   near ? place.as<uint8_t>() + begin * out : nullptr,
                                   near ? nullptr : place.as<int64_t>() + begin * out, end - begin);
    });
}

template <class T>
void max_pool_backward(const Call& c) {
    const PoolShape s = shape_of(c);
    const size_t in = s.height * s.width, out = s.out_height * s.out_width;
    const Array& place = c.saved[0];
    const bool near = place.kind == Kind::byte;
    for_planes(c, s, [&](size_t begin, size_t end) {
        c.kernels.of<T>().max_pool_backward(s, c.dout[0].as<T>() + begin * out,
                                            near ? place.as<uint8_t>() + begin * out : nullptr,
                                            near ? nullptr : place.as<int64_t>() + begin * out,
                                            c.din[0].as<T>() + begin * in, end - begin, c.adds(0));
    });
}

// options: those of both, and whether the zeros around x count. in, out: as of max_pool.
bool avg_pool_fits(const Call& c) {
    if (c.option_count != kShapeOptions + 1 || c.saves != 0 || !fits(c)) return false;
    return c.option(kDilations) == 1 && c.option(kDilations + 1) == 1 &&
           2 * c.option(kPads) <= c.option(kKernels) &&
           2 * c.option(kPads + 1) <= c.option(kKernels + 1);
}

template <class T>
void avg_pool_forward(const Call& c) {
    const PoolShape s = shape_of(c);
    for_planes(c, s, [&](size_t begin, size_t end) {
        c.kernels.of<T>().avg_pool(
            s, c.flag(kShapeOptions), c.in[0].as<T>() + begin * s.height * s.width,
            c.out[0].as<T>() + begin * s.out_height * s.out_width, end - begin);
    });
}

template <class T>
void avg_pool_backward(const Call& c) {
    const PoolShape s = shape_of(c);
    for_planes(c, s, [&](size_t begin, size_t end) {
        c.kernels.of<T>().avg_pool_backward(
            s, c.flag(kShapeOptions), c.dout[0].as<T>() + begin * s.out_height * s.out_width,
            c.din[0].as<T>() + begin * s.height * s.width, end - begin, c.adds(0));
    });
}

#define FIRTH_INSTANTIATE(T) \
    template void max_pool_forward<T>(const Call&); \
    template void max_pool_backward<T>(const Call&); \
    template void avg_pool_forward<T>(const Call&); \
    template void avg_pool_backward<T>(const Call&);
FIRTH_INSTANTIATE(float)
FIRTH_INSTANTIATE(double)

}  // namespace firth::nn
