// Rows of a table by their ids, and the sums of gradients by id.
#include <algorithm>

#include "engines/nn/operation.h"

namespace firth::nn {
namespace {

constexpr size_t kColumns = 64;  // that one thread adds at once

// The row of an id, or null where there is none.
const int64_t kNoRow = -1;
int64_t row_of(int64_t id, size_t rows) { return id >= 0 && size_t(id) < rows ? id : kNoRow; }

}  // namespace

// options: the id whose row gets no gradient, or -1. in: ids (...), weight (rows, n); out:
// y (..., n). An id that is no row gives zeros.
bool embedding_fits(const Call& c) {
    if (c.ins != 2 || c.outs != 1 || c.saves != 0 || c.option_count != 1) return false;
    const Array &ids = c.in[0], &weight = c.in[1], &y = c.out[0];
    if (!ids || ids.kind != Kind::index || !weight.there || weight.axes != 2 ||
        y.axes != ids.axes + 1 || memcmp(y.shape, ids.shape, ids.axes * sizeof *ids.shape) ||
        y.last() != weight.shape[1])
        return false;
    if (c.backward) return c.dout[0] && !c.din[0];
    return weight && weight.kind == Kind::real && y && y.kind == Kind::real;
}

template <class T>
void embedding_forward(const Call& c) {
    const int64_t* const ids = c.in[0].as<int64_t>();
    const T* const weight = c.in[1].as<T>();
    const size_t rows = c.in[1].shape[0], n = c.in[1].shape[1];
    T* const y = c.out[0].as<T>();
    for_items(c, c.in[0].size(), double(n), [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; i++)
            if (const int64_t row = row_of(ids[i], rows); row != kNoRow)
                std::copy_n(weight + size_t(row) * n, n, y + i * n);
            else
                std::fill_n(y + i * n, n, T(0));
    });
}

// Threads share the columns: each adds all ids' rows, in their order, whichever ids are frequent.
template <class T>
void embedding_backward(const Call& c) {
    if (!c.din[1]) return;
    const int64_t* const ids = c.in[0].as<int64_t>();
    const T* const dy = c.dout[0].as<T>();
    const size_t rows = c.in[1].shape[0], n = c.in[1].shape[1], count = c.in[0].size();
    T* const dweight = c.din[1].as<T>();
    if (!c.adds(1))
        for_items(c, rows * n, 1, [&](size_t begin, size_t end) {
            std::fill(dweight + begin, dweight + end, T(0));
        });
    for_items(
        c, divide_up(n, kColumns), 2 * double(count * kColumns), [&](size_t first, size_t last) {
            const size_t begin = first * kColumns, end = std::min(n, last * kColumns);
            for (size_t i = 0; i < count; i++)
                if (const int64_t row = row_of(ids[i], rows);
                    row != kNoRow && double(row) != c.option(0))
                    c.kernels.of<T>().scale(dy + i * n + begin, T(1),
                                            dweight + size_t(row) * n + begin, end - begin, true);
        });
}

#define FIRTH_INSTANTIATE(T) \
    template void embedding_forward<T>(const Call&); \
    template void embedding_backward<T>(const Call&);
FIRTH_INSTANTIATE(float)
FIRTH_INSTANTIATE(double)

}  // namespace firth::nn
