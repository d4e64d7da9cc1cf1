// Operations that move elements: reshape, permute, slice, concatenate. No arithmetic, so there is
// one function below all of them, which moves a box of elements from strides to strides.
#include <algorithm>

#include "engines/nn/operation.h"
#include "memory.h"

namespace firth::nn {
namespace {

struct Axis {
    size_t n, from, to;  // its length, and strides of the source and of what is written
};

// The axes without those of one element, neighbours merged where they are one axis in both arrays.
size_t merge(Axis* axes, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (axes[i].n == 1) continue;
        Axis* last = kept ? axes + kept - 1 : nullptr;
        if (last && last->from == axes[i].n * axes[i].from && last->to == axes[i].n * axes[i].to)
            *last = {last->n * axes[i].n, axes[i].from, axes[i].to};
        else
            axes[kept++] = axes[i];
    }
    return kept;
}

// body(from, to) with the offsets of items begin to end of all that the axes span.
template <class Body>
void walk(const Axis* axes, size_t count, size_t begin, size_t end, const Body& body) {
    size_t at[kMostAxes] = {}, from = 0, to = 0, rest = begin;
    for (size_t i = count; i-- > 0;) {
        at[i] = rest % axes[i].n;
        rest /= axes[i].n;
        from += at[i] * axes[i].from;
        to += at[i] * axes[i].to;
    }
    for (size_t item = begin; item < end; item++) {
        body(from, to);
        for (size_t i = count; i-- > 0;) {
            from += axes[i].from;
            to += axes[i].to;
            if (++at[i] < axes[i].n) break;
            from -= axes[i].n * axes[i].from;
            to -= axes[i].n * axes[i].to;
            at[i] = 0;
        }
    }
}

// to = or += from, for a box of at most kMostAxes axes in the order of what is written.
template <class T>
void move(const Call& call, Axis* axes, size_t count, const T* from, T* to, bool add) {
    const auto& kernels = call.kernels.of<T>();
    for (size_t i = 0; i < count; i++)
        if (axes[i].n == 0) return;
    count = merge(axes, count);
    Axis row = count ? axes[--count] : Axis{1, 1, 1};
    if (count == 0 && row.from == 1 && row.to == 1)
        return for_items(call, row.n, 1, [&](size_t begin, size_t end) {
            if (add)
                kernels.combine(kFirst, from + begin, 0, from + begin, 0, to + begin, 0, 1,
                                end - begin, true);
            else
                std::copy(from + begin, from + end, to + begin);
        });
    // An axis that is contiguous in the source while another is in what is written: transposes,
    // of so many columns at a time that the lines they write stay in L1.
    constexpr size_t kColumns = 64;
    size_t column = count;
    if (row.from != 1 && row.to == 1)
        for (size_t i = 0; i < count; i++)
            if (axes[i].from == 1) column = i;
    if (column < count) {
        const Axis columns = axes[column];
        std::copy(axes + column + 1, axes + count, axes + column);
        const size_t tiles = divide_up(columns.n, kColumns);
        axes[count - 1] = {tiles, kColumns, kColumns * columns.to};
        size_t items = 1;
        for (size_t i = 0; i < count; i++) items *= axes[i].n;
        return for_items(call, items, double(row.n * std::min(columns.n, kColumns)),
                         [&](size_t begin, size_t end) {
                             size_t tile = begin % tiles;
                             walk(axes, count, begin, end, [&](size_t source, size_t place) {
                                 const size_t n = std::min(kColumns, columns.n - tile * kColumns);
                                 kernels.transpose(from + source, ptrdiff_t(row.from), to + place,
                                                   ptrdiff_t(columns.to), row.n, n, add);
                                 tile = tile + 1 == tiles ? 0 : tile + 1;
                             });
                         });
    }
    size_t items = 1;
    for (size_t i = 0; i < count; i++) items *= axes[i].n;
    for_items(call, items, double(row.n) + 8, [&](size_t begin, size_t end) {
        walk(axes, count, begin, end, [&](size_t source, size_t place) {
            const T* x = from + source;
            T* y = to + place;
            if (row.from == 1 && row.to == 1 && !add)
                std::copy_n(x, row.n, y);
            else if (row.from == 1 && row.to == 1)
                kernels.combine(kFirst, x, 0, x, 0, y, 0, 1, row.n, true);
            else if (add)
                for (size_t i = 0; i < row.n; i++) y[i * row.to] += x[i * row.from];
            else
                for (size_t i = 0; i < row.n; i++) y[i * row.to] = x[i * row.from];
        });
    });
}

bool one_of_each(const Call& c) {
    return c.ins == 1 && c.outs == 1 && c.saves == 0 && c.in[0].kind == Kind::real &&
           c.out[0].kind == Kind::real && c.in[0].there && c.out[0].there &&
           (c.backward ? c.dout[0] && c.din[0] : c.in[0] && c.out[0]);
}

bool is_number(double option, size_t end) {
    return option >= 0 && option < double(end) && option == double(size_t(option));
}

void strides_of(const Array& x, size_t* strides) {
    size_t stride = 1;
    for (size_t i = x.axes; i-- > 0;) {
        strides[i] = stride;
        stride *= x.shape[i];
    }
}

}  // namespace

// ---- reshape: in: x; out: y, with as many elements ----------------------------------------------

bool reshape_fits(const Call& c) {
    return one_of_each(c) && c.option_count == 0 && c.in[0].size() == c.out[0].size();
}

template <class T>
void reshape_forward(const Call& c) {
    Axis all{c.in[0].size(), 1, 1};
    move(c, &all, 1, c.in[0].as<T>(), c.out[0].as<T>(), false);
}

template <class T>
void reshape_backward(const Call& c) {
    Axis all{c.in[0].size(), 1, 1};
    move(c, &all, 1, c.dout[0].as<T>(), c.din[0].as<T>(), c.adds(0));
}

// ---- permute: options: for each axis of out the axis of in --------------------------------------

bool permute_fits(const Call& c) {
    if (!one_of_each(c)) return false;
    const Array &x = c.in[0], &y = c.out[0];
    if (c.option_count != x.axes || y.axes != x.axes) return false;
    bool seen[kMostAxes] = {};
    for (size_t i = 0; i < x.axes; i++) {
        if (!is_number(c.option(i), x.axes)) return false;
        const size_t axis = size_t(c.option(i));
        if (seen[axis] || y.shape[i] != x.shape[axis]) return false;
        seen[axis] = true;
    }
    return true;
}

template <class T>
void permute_forward(const Call& c) {
    size_t from[kMostAxes] = {}, to[kMostAxes] = {};
    strides_of(c.in[0], from);
    strides_of(c.out[0], to);
    Axis axes[kMostAxes];
    for (size_t i = 0; i < c.in[0].axes; i++)
        axes[i] = {c.out[0].shape[i], from[size_t(c.option(i))], to[i]};
    move(c, axes, c.in[0].axes, c.in[0].as<T>(), c.out[0].as<T>(), false);
}

template <class T>
void permute_backward(const Call& c) {
    size_t from[kMostAxes] = {}, to[kMostAxes] = {};
    strides_of(c.out[0], from);
    strides_of(c.in[0], to);
    Axis axes[kMostAxes];
    for (size_t i = 0; i < c.in[0].axes; i++) {
        const size_t axis = size_t(c.option(i));
        axes[axis] = {c.in[0].shape[axis], from[i], to[axis]};
    }
    move(c, axes, c.in[0].axes, c.dout[0].as<T>(), c.din[0].as<T>(), c.adds(0));
}

// ---- slice: options: for each axis of in the start, the step (1 or more), how many --------------

bool slice_fits(const Call& c) {
    if (!one_of_each(c) || c.option_count != 3 * c.in[0].axes) return false;
    size_t size = 1;
    for (size_t i = 0; i < c.in[0].axes; i++) {
        const double n = double(c.in[0].shape[i]);
        const double start = c.option(3 * i), step = c.option(3 * i + 1);
        const double count = c.option(3 * i + 2);
        if (!is_number(start, c.in[0].shape[i] + 1) || !is_number(step, size_t(1) << 62) ||
            step < 1 || !is_number(count, c.in[0].shape[i] + 1))
            return false;
        if (count > 0 && !(start + (count - 1) * step < n)) return false;
        size *= size_t(count);
    }
    return size == c.out[0].size();
}

namespace {

// Axes that go from all of x to the part; the offset of the part.
size_t part_of(const Call& c, Axis* axes) {
    size_t strides[kMostAxes] = {}, offset = 0, to = 1;
    strides_of(c.in[0], strides);
    for (size_t i = c.in[0].axes; i-- > 0;) {
        const size_t count = size_t(c.option(3 * i + 2));
        offset += size_t(c.option(3 * i)) * strides[i];
        // the step of a single element says nothing, and may be huge
        axes[i] = {count, count > 1 ? size_t(c.option(3 * i + 1)) * strides[i] : strides[i], to};
        to *= count;
    }
    return offset;
}

}  // namespace

template <class T>
void slice_forward(const Call& c) {
    Axis axes[kMostAxes];
    const size_t offset = part_of(c, axes);
    move(c, axes, c.in[0].axes, c.in[0].as<T>() + offset, c.out[0].as<T>(), false);
}

template <class T>
void slice_backward(const Call& c) {
    Axis axes[kMostAxes];
    const size_t offset = part_of(c, axes);
    for (size_t i = 0; i < c.in[0].axes; i++) std::swap(axes[i].from, axes[i].to);
    T* dx = c.din[0].as<T>();
    if (!c.adds(0))
        for_items(c, c.in[0].size(), 1,
                  [&](size_t begin, size_t end) { std::fill(dx + begin, dx + end, T(0)); });
    move(c, axes, c.in[0].axes, c.dout[0].as<T>(), dx + offset, c.adds(0));
}

// ---- concatenate: options: how many axes lead the one along which inputs follow each other ------
// in: any number of arrays; out: of each item of the leading axes the inputs' parts in turn.

namespace {

size_t leading(const Array& x, size_t axes) {
    size_t n = 1;
    for (size_t i = 0; i < axes; i++) n *= x.shape[i];
    return n;
}
size_t trailing(const Array& x, size_t axes) {
    size_t n = 1;
    for (size_t i = axes; i < x.axes; i++) n *= x.shape[i];
    return n;
}

}  // namespace

bool concatenate_fits(const Call& c) {
    if (c.ins == 0 || c.outs != 1 || c.saves != 0 || c.option_count != 1) return false;
    const Array& y = c.out[0];
    if (!is_number(c.option(0), y.axes) || y.kind != Kind::real) return false;
    const size_t axes = size_t(c.option(0));
    size_t parts = 0;
    for (size_t i = 0; i < c.ins; i++) {
        const Array& x = c.in[i];
        if (!x.there || x.kind != Kind::real || x.axes < axes) return false;
        if (memcmp(x.shape, y.shape, axes * sizeof *x.shape)) return false;
        if (!c.backward && !x) return false;
        parts += trailing(x, axes);
    }
    return parts == trailing(y, axes) && (c.backward ? bool(c.dout[0]) : bool(y));
}

template <class T>
void concatenate_forward(const Call& c) {
    const size_t lead = size_t(c.option(0)), items = leading(c.out[0], lead);
    const size_t whole = trailing(c.out[0], lead);
    T* y = c.out[0].as<T>();
    for (size_t i = 0; i < c.ins; i++) {
        const size_t part = trailing(c.in[i], lead);
        Axis axes[] = {{items, part, whole}, {part, 1, 1}};
        move(c, axes, 2, c.in[i].as<T>(), y, false);
        y += part;
    }
}

template <class T>
void concatenate_backward(const Call& c) {
    const size_t lead = size_t(c.option(0)), items = leading(c.out[0], lead);
    const size_t whole = trailing(c.out[0], lead);
    const T* dy = c.dout[0].as<T>();
    for (size_t i = 0; i < c.ins; i++) {
        const size_t part = trailing(c.in[i], lead);
        Axis axes[] = {{items, whole, part}, {part, 1, 1}};
        if (c.din[i]) move(c, axes, 2, dy, c.din[i].as<T>(), c.adds(i));
        dy += part;
    }
}

#define FIRTH_INSTANTIATE(name) \
    template void name##_forward<float>(const Call&); \
    template void name##_forward<double>(const Call&); \
    template void name##_backward<float>(const Call&); \
    template void name##_backward<double>(const Call&);
FIRTH_INSTANTIATE(reshape)
FIRTH_INSTANTIATE(permute)
FIRTH_INSTANTIATE(slice)
FIRTH_INSTANTIATE(concatenate)

}  // namespace firth::nn
