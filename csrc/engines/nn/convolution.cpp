// Convolutions of one or two axes. Neither forward nor backward writes patches down.
//
// A plane of the source is copied with zeros around it, and split by the stride: positions that are
// a multiple of the stride apart are neighbours in a phase of their own. Then the pixel that tap
// (i, j) of the kernel meets lies, for all pixels of the result at once, one constant offset away
// from the pixel of the result, if both have the same pitch from row to row. So
//   forward     z = sum over channels and taps of weight times shifted plane
//   by input    dx = the same over dz, for each phase of dx with the taps that reach it
//   by weights  dW[o, c, tap] = sum over pixels of dz[o] times shifted plane c
// whose results have some columns more than asked for, between the rows: they are dropped, and in
// the last one 0 in dz. Planes of one row of taps are shared by rows: the zeros right of one are
// those left of the next. (Above 500 lines: forward and both gradients share these planes.)
#include <algorithm>
#include <vector>

#include "engines/gemm.h"
#include "engines/nn/activation.h"
#include "memory.h"

namespace firth::nn {
namespace {

constexpr size_t kBandBytes = size_t(384) << 10;   // of planes and results of one task
constexpr size_t kPartElements = 1024;             // of a row of dz that stay in L1
constexpr size_t kBlockBytes = size_t(768) << 10;  // of planes and dz that are prepared at a time
constexpr size_t kWeightTaps = 32;                 // of a task of the gradient by the weights

// Of the rows (H) or columns (W) of a convolution.
struct Axis {
    ptrdiff_t in, out, kernel, stride, before, after, dilation;
    ptrdiff_t shift(ptrdiff_t tap) const { return tap * dilation - before; }
};

struct Shape {
    size_t images, channels, results, groups;
    Axis y, x;
};

enum Option { kActivation, kSlope, kStrides, kPads = 4, kDilations = 8, kGroups = 10, kOptions };

ptrdiff_t length(const Array& a, size_t axis) {  // 1 of an axis that is not there
    return axis < a.axes ? ptrdiff_t(a.shape[axis]) : 1;
}

Shape shape_of(const Call& c) {
    const Array &x = c.in[0], &weight = c.in[1], &y = c.out[0];
    const auto axis = [&](size_t i) {
        const auto option = [&](size_t at) { return ptrdiff_t(c.option(at)); };
        return Axis{length(x, 2 + i),      length(y, 2 + i),      length(weight, 2 + i),
                    option(kStrides + i),  option(kPads + 2 * i), option(kPads + 2 * i + 1),
                    option(kDilations + i)};
    };
    return {x.shape[0], x.shape[1], weight.shape[0], size_t(c.option(kGroups)), axis(0), axis(1)};
}

}  // namespace

// options: activation, slope; strides of H and W; zeros before and after H, before and after W;
// dilations of H and W; groups. in: x (N, C, H, W), weight (O, C / groups, kh, kw), bias (O) or
// absent; out: y (N, O, H', W'); all without W where it is 1. saved: z as y, where backward reads
// it and not y.
bool convolution_fits(const Call& c) {
    if (c.ins != 3 || c.outs != 1 || c.option_count != kOptions || !is_activation(c.option(0)))
        return false;
    constexpr double most = 0x1p31;
    for (size_t i = kStrides; i < kOptions; i++) {
        const double least = i >= kPads && i < kDilations ? 0 : 1;
        if (!(c.option(i) >= least && c.option(i) < most) || c.option(i) != int64_t(c.option(i)))
            return false;
    }
    const Array &x = c.in[0], &weight = c.in[1], &bias = c.in[2], &y = c.out[0];
    if ((x.axes != 3 && x.axes != 4) || weight.axes != x.axes || y.axes != x.axes) return false;
    for (const Array* a : {&x, &weight, &y})
        for (size_t i = 0; i < a->axes; i++)
            if (double(a->shape[i]) >= most || (a->shape[i] == 0 && i > 0)) return false;
    if (weight.shape[0] == 0) return false;
    const Shape s = shape_of(c);
    for (const Axis& axis : {s.y, s.x}) {
        const ptrdiff_t room =
            axis.in + axis.before + axis.after - axis.dilation * (axis.kernel - 1) - 1;
        if (room < 0 || axis.out != room / axis.stride + 1) return false;
    }
    if (y.shape[0] != s.images || y.shape[1] != s.results || s.results % s.groups ||
        weight.shape[1] * s.groups != s.channels)
        return false;
    if (bias.there && (bias.axes != 1 || bias.shape[0] != s.results)) return false;
    for (const Array* a : {&x, &weight, &bias, &y})
        if (*a && a->kind != Kind::real) return false;
    const bool keeps_z = !reads_result(int(c.option(0)));
    if (c.saves != size_t(keeps_z)) return false;
    if (keeps_z && (!c.saved[0].has_shape_of(y) || c.saved[0].kind != Kind::real)) return false;
    if (!c.backward) return x && weight && (!bias.there || bias) && y && (!keeps_z || c.saved[0]);
    const bool plain = c.option(0) == kNone;
    return c.dout[0] && (plain || (keeps_z ? c.saved[0] : y)) && (!c.din[0] || weight) &&
           (!c.din[1] || x) && (bias.there || !c.din[2]);
}

namespace {

// A position of a tap: phase of the source, and how many pixels of the phase from the result's.
struct Place {
    ptrdiff_t phase, pixels;
};
Place place(ptrdiff_t shift, ptrdiff_t stride) {
    const ptrdiff_t phase = (shift % stride + stride) % stride;
    return {phase, (shift - phase) / stride};
}

// The shifts of taps along one axis of a source of `in` pixels, for `out` pixels of a result.
struct Side {
    ptrdiff_t in, stride, least = 0, most = 0;

    Side(ptrdiff_t in, ptrdiff_t stride, const std::vector<ptrdiff_t>& shifts)
        : in(in), stride(stride) {
        for (size_t i = 0; i < shifts.size(); i++) {
            const ptrdiff_t pixels = place(shifts[i], stride).pixels;
            least = i ? std::min(least, pixels) : pixels;
            most = i ? std::max(most, pixels) : pixels;
        }
    }
};

// Planes with zeros around them, for bands of `rows` rows of the result.
struct Planes {
    Side y, x;
    size_t rows, columns, left, pitch, size;

    Planes(const Side& y, const Side& x, size_t rows, size_t columns)
        : y(y), x(x), rows(rows), columns(columns) {
        const ptrdiff_t out = ptrdiff_t(columns);
        left = size_t(std::max(ptrdiff_t(0), -x.least));
        // the columns of a phase that taps reach, zeros beside them, and room for the result
        const ptrdiff_t reached =
            std::max(std::min(ptrdiff_t(divide_up(size_t(x.in), size_t(x.stride))), out + x.most),
                     ptrdiff_t(0));
        pitch = size_t(std::max({out, out + x.most, reached + ptrdiff_t(left)}));
        size = round_up(height() * pitch, kPlaneUnit);
    }
    size_t height() const { return rows + size_t(y.most - y.least); }
    size_t phases() const { return size_t(y.stride * x.stride); }
    // Pixels of a result, with those between its rows.
    size_t wide() const { return round_up(rows * pitch, kPlaneUnit); }
    // Elements behind the last plane that are read too.
    size_t slack() const { return round_up(2 * pitch, kPlaneUnit) + 2 * kPlaneUnit; }
    ptrdiff_t offset(ptrdiff_t shift_y, ptrdiff_t shift_x) const {
        const Place py = place(shift_y, y.stride), px = place(shift_x, x.stride);
        return (py.phase * x.stride + px.phase) * ptrdiff_t(size) +
               (py.pixels - y.least) * ptrdiff_t(pitch) + ptrdiff_t(left) + px.pixels;
    }
};

// Planes for rows [first, first + rows) of the result, of a source of `channels` planes, into `to`:
// channels * phases * size elements and the slack. result: as of copy_rows, or null.
template <class T>
void prepare(const Call& call, const Planes& p, const T* from, const T* result, size_t channels,
             size_t first, T* to) {
    memset(to, 0, (channels * p.phases() * p.size + p.slack()) * sizeof(T));
    const ptrdiff_t pitch = ptrdiff_t(p.pitch), start = ptrdiff_t(first) + p.y.least;
    for (size_t c = 0; c < channels; c++)
        for (ptrdiff_t a = 0; a < p.y.stride; a++)
            for (ptrdiff_t b = 0; b < p.x.stride; b++, to += p.size) {
                // rows and columns of the phase that are there and have room
                const ptrdiff_t begin = std::max(start, ptrdiff_t(0));
                const ptrdiff_t end = std::min((p.y.in - a + p.y.stride - 1) / p.y.stride,
                                               start + ptrdiff_t(p.height()));
                const ptrdiff_t n =
                    std::min((p.x.in - b + p.x.stride - 1) / p.x.stride, pitch - ptrdiff_t(p.left));
                if (begin >= end || n <= 0) continue;
                T* out = to + (begin - start) * pitch + ptrdiff_t(p.left);
                const ptrdiff_t stride = p.y.stride * p.x.in;
                const ptrdiff_t at = (ptrdiff_t(c) * p.y.in + begin * p.y.stride + a) * p.x.in + b;
                if (p.x.stride > 1 || (n == 1 && stride > 1))
                    for (ptrdiff_t i = 0; i < end - begin; i++)
                        for (ptrdiff_t j = 0; j < n; j++) {
                            const ptrdiff_t x = at + i * stride + j * p.x.stride;
                            out[i * pitch + j] = result && !(result[x] > 0) ? 0 : from[x];
                        }
                else if (n == pitch && n == stride)  // rows without zeros between them are one
                    call.kernels.of<T>().copy_rows(from + at, 0, result ? result + at : nullptr,
                                                   out, 0, 1, size_t((end - begin) * n));
                else
                    call.kernels.of<T>().copy_rows(from + at, stride,
                                                   result ? result + at : nullptr, out, pitch,
                                                   size_t(end - begin), size_t(n));
            }
}

// How many rows of a result are computed at a time, so that what they need stays in L2. `row_bytes`
// is what one takes.
size_t band_rows(size_t rows, size_t row_bytes, size_t pitch) {
    const size_t fit = std::max(kBandBytes / row_bytes, divide_up(4 * kPlaneUnit, pitch));
    const size_t bands = divide_up(rows, std::min(fit, rows));
    return divide_up(rows, bands);
}

// Sums over channels of the source and taps: for each image and group m planes of rows x columns.
template <class T>
struct Correlation {
    const Call& call;
    size_t images, groups;
    const T *source, *result;  // images x groups x channels planes; result as of copy_rows
    size_t channels;
    std::vector<ptrdiff_t> shifts_y, shifts_x;  // taps are all pairs of them
    ptrdiff_t height, width, stride_y, stride_x;
    const T* weights;  // groups x m x channels x taps
    size_t m, rows, columns;

    // finish(image, group, first, rows, sums, stride, pitch): row i of plane j of the sums is at
    // sums + j * stride + i * pitch.
    template <class Finish>
    void run(const Finish& finish) const {
        const Gemm& type = sizeof(T) == 4 ? call.kernels.gemm_f32 : call.kernels.gemm_f64;
        const size_t taps = shifts_y.size() * shifts_x.size(), k = channels * taps;
        const Scratch packed(groups * m * k * sizeof(T));
        const size_t blocks = divide_up(k, type.block);
        const auto pack = [&](size_t begin, size_t end) {
            for (size_t i = begin; i < end; i++) {
                const size_t group = i / blocks, first = i % blocks * type.block;
                type.pack_a(weights + group * m * k + first, ptrdiff_t(k * sizeof(T)),
                            packed.data<T>() + group * m * k + first * m, m,
                            std::min(type.block, k - first));
            }
        };
        const double cost = 2.0 * double(images * groups * m) * double(rows * columns * k);
        const int threads = cost < kSerialFlops ? 1 : call.threads;
        parallel_for(groups * blocks, divide_up(groups * blocks, 4 * size_t(threads)), pack,
                     threads);

        const Side y(height, stride_y, shifts_y), x(width, stride_x, shifts_x);
        Planes planes(y, x, 1, columns);
        const size_t row_bytes = (channels * planes.phases() + m) * planes.pitch * sizeof(T);
        planes = Planes(y, x, band_rows(rows, row_bytes, planes.pitch), columns);
        // Bands are free: no sum depends on them.
        const size_t few = divide_up(2 * size_t(threads), images);
        if (threads > 1 && divide_up(rows, planes.rows) < few)
            planes = Planes(y, x, divide_up(rows, std::min(few, rows)), columns);
        std::vector<ptrdiff_t> offsets;
        for (size_t c = 0; c < channels; c++)
            for (const ptrdiff_t i : shifts_y)
                for (const ptrdiff_t j : shifts_x)
                    offsets.push_back(ptrdiff_t(c * planes.phases() * planes.size) +
                                      planes.offset(i, j));

        const size_t bands = divide_up(rows, planes.rows), wide = planes.wide();
        const size_t plane = size_t(height) * size_t(width);
        const auto task = [&](size_t begin, size_t end) {
            const Scratch copies((channels * planes.phases() * planes.size + planes.slack()) *
                                 sizeof(T));
            const Scratch sums(m * wide * sizeof(T));
            for (size_t i = begin; i < end; i++) {
                const size_t image = i / bands, first = i % bands * planes.rows;
                const size_t mine = std::min(planes.rows, rows - first);
                for (size_t group = 0; group < groups; group++) {
                    const size_t at = (image * groups + group) * channels * plane;
                    prepare(call, planes, source + at, result ? result + at : nullptr, channels,
                            first, copies.data<T>());
                    for (size_t u = 0; u < k; u += type.block)
                        call.kernels.of<T>().convolve(
                            packed.data<T>() + group * m * k + u * m, copies.data<T>(),
                            offsets.data() + u, sums.data<T>(), ptrdiff_t(wide), m,
                            mine * planes.pitch, std::min(type.block, k - u), u > 0);
                    finish(image, group, first, mine, sums.data<T>(), wide, planes.pitch);
                }
            }
        };
        const size_t tasks = images * bands;
        parallel_for(tasks, divide_up(tasks, 16 * size_t(threads)), task, threads);
    }
};

std::vector<ptrdiff_t> shifts(const Axis& axis) {
    std::vector<ptrdiff_t> all;
    for (ptrdiff_t tap = 0; tap < axis.kernel; tap++) all.push_back(axis.shift(tap));
    return all;
}

}  // namespace

template <class T>
void convolution_forward(const Call& c) {
    const Shape s = shape_of(c);
    if (s.images == 0) return;
    const int activation = int(c.option(kActivation));
    const size_t m = s.results / s.groups, plane = size_t(s.y.out * s.x.out);
    const size_t width = size_t(s.x.out);
    const T* bias = c.in[2].as<T>();
    T* z = c.saves ? c.saved[0].as<T>() : c.out[0].as<T>();
    const Correlation<T> sums{c,
                              s.images,
                              s.groups,
                              c.in[0].as<T>(),
                              nullptr,
                              s.channels / s.groups,
                              shifts(s.y),
                              shifts(s.x),
                              s.y.in,
                              s.x.in,
                              s.y.stride,
                              s.x.stride,
                              c.in[1].as<T>(),
                              m,
                              size_t(s.y.out),
                              width};
    const auto& kernels = c.kernels.of<T>();
    sums.run([&](size_t image, size_t group, size_t first, size_t rows, const T* sum, size_t stride,
                 size_t pitch) {
        for (size_t i = 0; i < m; i++) {
            const size_t channel = group * m + i;
            const size_t at = (image * s.results + channel) * plane + first * width;
            const bool one = pitch == width;
            kernels.finish_rows(sum + i * stride, ptrdiff_t(pitch), bias ? bias[channel] : 0,
                                activation == kRelu, z + at, ptrdiff_t(width), one ? 1 : rows,
                                one ? rows * width : width, false);
            if (activation != kNone && activation != kRelu)
                kernels.activate(z + at, c.out[0].as<T>() + at, rows * width, activation,
                                 c.option(kSlope));
        }
    });
}

namespace {

// dx: pixels a stride apart share their taps, which reach neighbours in dz.
template <class T>
void by_input(const Call& c, const Shape& s, const T* dz, const T* result) {
    const size_t m = s.channels / s.groups, o = s.results / s.groups;
    const size_t taps = size_t(s.y.kernel * s.x.kernel);
    const T* weight = c.in[1].as<T>();
    T* dx = c.din[0].as<T>();
    const auto& kernels = c.kernels.of<T>();
    const Scratch turned(s.groups * m * o * taps * sizeof(T));
    for (ptrdiff_t a = 0; a < std::min(s.y.stride, s.y.in); a++)
        for (ptrdiff_t b = 0; b < std::min(s.x.stride, s.x.in); b++) {
            // Tap i of the kernel brings pixel q of dz to pixel q * stride + shift of dx: to pixel
            // p * stride + a of dx where q = p + (a - shift) / stride.
            std::vector<ptrdiff_t> chosen[2], moved[2];
            const auto choose = [&](const Axis& axis, ptrdiff_t phase, size_t i) {
                for (ptrdiff_t tap = 0; tap < axis.kernel; tap++) {
                    const Place p = place(phase - axis.shift(tap), axis.stride);
                    if (p.phase) continue;
                    chosen[i].push_back(tap);
                    moved[i].push_back(p.pixels);
                }
            };
            choose(s.y, a, 0);
            choose(s.x, b, 1);
            const size_t rows = size_t((s.y.in - a + s.y.stride - 1) / s.y.stride);
            const size_t columns = size_t((s.x.in - b + s.x.stride - 1) / s.x.stride);
            const size_t few = chosen[0].size() * chosen[1].size();
            const auto put = [&](size_t image, size_t group, size_t first, size_t count,
                                 const T* sum, size_t stride, size_t pitch) {
                for (size_t i = 0; i < m; i++) {
                    T* to = dx +
                            ((image * s.channels + group * m + i) * size_t(s.y.in) +
                             first * size_t(s.y.stride) + size_t(a)) *
                                size_t(s.x.in) +
                            size_t(b);
                    const ptrdiff_t step = s.y.stride * s.x.in;
                    const T* from = sum ? sum + i * stride : nullptr;
                    const bool one = pitch == columns && step == ptrdiff_t(columns);
                    if (from && s.x.stride == 1 && !(columns == 1 && step > 1))
                        kernels.finish_rows(from, ptrdiff_t(pitch), 0, false, to, step,
                                            one ? 1 : count, one ? count * columns : columns,
                                            c.adds(0));
                    else
                        for (size_t r = 0; r < count; r++)
                            for (size_t j = 0; j < columns; j++) {
                                T* at = to + ptrdiff_t(r) * step + ptrdiff_t(j) * s.x.stride;
                                const T value = from ? from[r * pitch + j] : 0;
                                *at = c.adds(0) ? *at + value : value;
                            }
                }
            };
            if (few == 0) {  // the kernel never reaches these
                for (size_t i = 0; i < s.images * s.groups; i++)
                    put(i / s.groups, i % s.groups, 0, rows, nullptr, 0, 0);
                continue;
            }
            T* to = turned.data<T>();
            for (size_t g = 0; g < s.groups; g++)
                for (size_t i = 0; i < m; i++)
                    for (size_t j = 0; j < o; j++)
                        for (const ptrdiff_t ty : chosen[0])
                            for (const ptrdiff_t tx : chosen[1])
                                *to++ = weight[((g * o + j) * m + i) * taps +
                                               size_t(ty * s.x.kernel + tx)];
            const Correlation<T> sums{
                c,       s.images, s.groups, dz, result,           o, moved[0], moved[1],
                s.y.out, s.x.out,  1,        1,  turned.data<T>(), m, rows,     columns};
            sums.run(put);
        }
}

// dW and db, as one more tap over a plane of ones. A unit is a band of an image; units are summed
// in their order.
template <class T>
void by_weight(const Call& c, const Shape& s, const T* dz, const T* result) {
    const size_t o = s.results / s.groups, channels = s.channels / s.groups;
    const size_t taps = size_t(s.y.kernel * s.x.kernel), k = channels * taps + 1;
    const std::vector<ptrdiff_t> shifts_y = shifts(s.y), shifts_x = shifts(s.x);
    const Side y(s.y.in, s.y.stride, shifts_y), x(s.x.in, s.x.stride, shifts_x);
    const size_t rows = size_t(s.y.out), columns = size_t(s.x.out);
    Planes planes(y, x, 1, columns);
    const size_t fit = std::max(kPartElements / planes.pitch, size_t(1));
    planes = Planes(y, x, divide_up(rows, divide_up(rows, fit)), columns);
    const size_t bands = divide_up(rows, planes.rows), wide = planes.wide();
    const size_t ones = channels * planes.phases() * planes.size + planes.slack();
    const size_t x_next = round_up(ones + wide, kPlaneUnit), dz_next = o * wide;
    std::vector<ptrdiff_t> offsets;
    for (size_t i = 0; i < channels; i++)
        for (const ptrdiff_t ty : shifts_y)
            for (const ptrdiff_t tx : shifts_x)
                offsets.push_back(ptrdiff_t(i * planes.phases() * planes.size) +
                                  planes.offset(ty, tx));
    offsets.push_back(ptrdiff_t(ones));

    const size_t units = s.images * bands;
    const size_t parts = std::max(kPartElements / wide, size_t(1));  // units whose dz stay in L1
    const size_t block =
        std::max(kBlockBytes / ((x_next + dz_next) * sizeof(T)) / parts, size_t(1)) * parts;
    const size_t prepared = std::min(block, units);
    const auto& kernels = c.kernels.of<T>();
    const double cost = 2.0 * double(s.images * o * k) * double(rows * columns * s.groups);
    const int threads = cost < kSerialFlops ? 1 : c.threads;
    const size_t tile = 6, rows_tiles = divide_up(o, tile), tap_tiles = divide_up(k, kWeightTaps);

    const auto group = [&](size_t g) {
        const Scratch copies(prepared * x_next * sizeof(T)), wides(prepared * dz_next * sizeof(T));
        const Scratch sums(o * k * sizeof(T));
        if (units == 0) memset(sums.data(), 0, o * k * sizeof(T));
        for (size_t first = 0; first < units; first += block) {
            const size_t count = std::min(block, units - first);
            parallel_for(
                count, 1,
                [&](size_t begin, size_t end) {
                    for (size_t i = begin; i < end; i++) {
                        const size_t image = (first + i) / bands;
                        const size_t row = (first + i) % bands * planes.rows;
                        const size_t mine = std::min(planes.rows, rows - row);
                        T *to = copies.data<T>() + i * x_next, *d = wides.data<T>() + i * dz_next;
                        prepare(c, planes,
                                c.in[0].as<T>() +
                                    (image * s.groups + g) * channels * size_t(s.y.in * s.x.in),
                                static_cast<const T*>(nullptr), channels, row, to);
                        std::fill(to + ones, to + x_next, T(1));
                        memset(d, 0, dz_next * sizeof(T));
                        const bool one = planes.pitch == columns;
                        for (size_t j = 0; j < o; j++) {
                            const size_t at =
                                ((image * s.results + g * o + j) * rows + row) * columns;
                            kernels.copy_rows(dz + at, ptrdiff_t(columns),
                                              result ? result + at : nullptr, d + j * wide,
                                              ptrdiff_t(planes.pitch), one ? 1 : mine,
                                              one ? mine * columns : columns);
                        }
                    }
                },
                threads);
            parallel_for(
                rows_tiles * tap_tiles, 1,
                [&](size_t begin, size_t end) {
                    for (size_t i = begin; i < end; i++) {
                        const size_t row = i / tap_tiles * tile, tap = i % tap_tiles * kWeightTaps;
                        for (size_t part = 0; part < count; part += parts)
                            kernels.convolve_weights(
                                wides.data<T>() + part * dz_next + row * wide, ptrdiff_t(wide),
                                ptrdiff_t(dz_next), copies.data<T>() + part * x_next,
                                offsets.data() + tap, ptrdiff_t(x_next),
                                std::min(parts, count - part), planes.rows * planes.pitch,
                                sums.data<T>() + row * k + tap, ptrdiff_t(k),
                                std::min(tile, o - row), std::min(kWeightTaps, k - tap),
                                first + part > 0);
                    }
                },
                threads);
        }
        const auto put = [](T* to, T value, bool add) { *to = add ? *to + value : value; };
        for (size_t j = 0; j < o; j++) {
            const T* from = sums.data<T>() + j * k;
            if (c.din[1])
                for (size_t i = 0; i + 1 < k; i++)
                    put(c.din[1].as<T>() + (g * o + j) * (k - 1) + i, from[i], c.adds(1));
            if (c.din[2]) put(c.din[2].as<T>() + g * o + j, from[k - 1], c.adds(2));
        }
    };
    if (s.groups == 1) return group(0);
    parallel_for(
        s.groups, 1,
        [&](size_t begin, size_t end) {
            for (size_t g = begin; g < end; g++) group(g);
        },
        threads);
}

}  // namespace

template <class T>
void convolution_backward(const Call& c) {
    const Shape s = shape_of(c);
    const int activation = int(c.option(kActivation));
    const size_t n = c.out[0].size();
    // relu is undone while planes are prepared, others before
    const bool before = activation != kNone && activation != kRelu;
    const Scratch scratch(before ? n * sizeof(T) : 0);
    const T *dz = c.dout[0].as<T>(), *result = activation == kRelu ? c.out[0].as<T>() : nullptr;
    if (before) {
        activate_backward(c, dz, c.saves ? c.saved[0].as<T>() : nullptr, c.out[0].as<T>(),
                          scratch.data<T>(), n, activation, c.option(kSlope), false);
        dz = scratch.data<T>();
    }
    if (c.din[1] || c.din[2]) by_weight(c, s, dz, result);
    if (c.din[0] && s.images) by_input(c, s, dz, result);
}

#define FIRTH_INSTANTIATE(T) \
    template void convolution_forward<T>(const Call&); \
    template void convolution_backward<T>(const Call&);
FIRTH_INSTANTIATE(float)
FIRTH_INSTANTIATE(double)

}  // namespace firth::nn
