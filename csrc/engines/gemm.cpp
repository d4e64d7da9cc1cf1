// Loop nest, outermost first (Van Zee and van de Geijn, BLIS, ACM TOMS 41(3), 2015):
//
//   tasks over rows or columns of C    one thread each
//     blocks of K                      Gemm::block
//       blocks of rows                 A packed into scratch, a third of L2
//         chunks of columns            panels of packed B, a fifth of L2, that stay there meanwhile
//           kernel: tiles of A (L1) x panels of B
//           last block of K: epilogue, while the sums are in L2
#include "engines/gemm.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "caches.h"
#include "memory.h"
#include "sizes.h"

namespace firth {
namespace {

constexpr size_t kUnpackedBytes = size_t(4) << 20;  // of B that is packed at a time for all threads
constexpr double kFlopsOfElement = 6;               // the time of reading an element of B, in flops

// Rows of a block of A and columns of a chunk of B: whole register tiles. With 1 MB of L2 and
// float32 224 and 128.
struct Cuts {
    size_t rows, columns;

    explicit Cuts(const Gemm& type) {
        const size_t fit = l2_bytes() / packed_k(type, type.block);
        rows = std::max(fit / 3 / type.rows, size_t(1)) * type.rows;
        columns = std::max(fit / 5 / type.columns, size_t(1)) * type.columns;
    }
};

// The part of a matrix that begins at (row, column).
Operand part(const Gemm& type, Operand x, size_t row, size_t column) {
    if (x.transposed) std::swap(row, column);
    x.data += ptrdiff_t(row) * x.stride + ptrdiff_t(column * type.element);
    return x;
}

Epilogue part(const Gemm& type, Epilogue e, size_t row, size_t column) {
    if (e.bias) e.bias = static_cast<const char*>(e.bias) + column * type.sum;
    if (e.residual)
        e.residual = static_cast<const char*>(e.residual) +
                     (ptrdiff_t(row) * e.stride + ptrdiff_t(column)) * ptrdiff_t(type.sum);
    if (e.row_scales) {
        e.row_scales += row;
        e.row_offsets += row;
        e.column_scales += column;
        e.column_sums += column;
        if (e.rank) {
            e.left += row * e.rank;
            e.right += column;
        }
    }
    return e;
}

void pack_a(const Gemm& type, const Operand& a, size_t m, size_t k, char* to) {
    (a.transposed ? type.pack_a_transposed : type.pack_a)(a.data, a.stride, to, m, k);
}

// Columns [column, column + n) of B, column a multiple of type.columns, into B packed whole.
void pack_columns(const Gemm& type, const Operand& b, size_t k, size_t columns_all, size_t column,
                  size_t n, char* packed) {
    const size_t padded = round_up(columns_all, type.columns);
    for (size_t first = 0; first < k; first += type.block) {
        const size_t depth = std::min(type.block, k - first);
        const Operand from = part(type, b, first, column);
        (from.transposed ? type.pack_b_transposed : type.pack_b)(
            from.data, from.stride,
            packed + padded * packed_k(type, first) + column * packed_k(type, depth), n, depth);
    }
}

// The part of C that one task computes.
struct Part {
    const Gemm& type;
    const Cuts& cuts;
    const Result& c;
    size_t row, column, m, n;

    char* at(size_t i, size_t j) const {
        return c.data +
               (ptrdiff_t(row + i) * c.stride + ptrdiff_t(column + j)) * ptrdiff_t(type.sum);
    }
    void finish(size_t i, size_t j, size_t rows, size_t columns) const {
        if (c.epilogue)
            type.finish(at(i, j), c.stride, rows, columns,
                        part(type, *c.epilogue, row + i, column + j));
    }
};

// C = A B on the calling thread; panels(first, depth, column, n) gives the packed block of B.
template <class Panels>
void multiply(const Part& c, const Operand& a, const Panels& panels, size_t k) {
    const Gemm& type = c.type;
    if (k == 0) {
        for (size_t i = 0; i < c.m && !c.c.accumulate; i++)
            std::memset(c.at(i, 0), 0, c.n * type.sum);
        return c.finish(0, 0, c.m, c.n);
    }
    // Blocks of equal height: a short last one would waste the packed panels.
    const size_t row_blocks = divide_up(c.m, c.cuts.rows);
    const Scratch packed(divide_up(c.m, row_blocks) * packed_k(type, type.block));
    for (size_t first = 0; first < k; first += type.block) {
        const size_t depth = std::min(type.block, k - first);
        for (size_t i = 0; i < row_blocks; i++) {
            const size_t row = i * c.m / row_blocks, rows = (i + 1) * c.m / row_blocks - row;
            pack_a(type, part(type, a, c.row + row, first), rows, depth, packed.data());
            for (size_t j = 0; j < c.n; j += c.cuts.columns) {
                const size_t columns = std::min(c.cuts.columns, c.n - j);
                type.multiply(packed.data(), panels(first, depth, j, columns), c.at(row, j),
                              c.c.stride, rows, columns, depth, first > 0 || c.c.accumulate);
                if (first + depth == k) c.finish(row, j, rows, columns);
            }
        }
    }
}

// How a product is divided: ranges of `grain` rows or columns, one task each.
struct Plan {
    Cuts cuts;
    int most_threads;
    bool by_rows;
    size_t grain;

    Plan(const Gemm& type, size_t m, size_t n, size_t k, int most)
        : cuts(type), most_threads(most) {
        const double flops = (2.0 * double(m) + kFlopsOfElement) * double(n) * double(k);
        const size_t threads = flops < kSerialFlops ? 1 : static_cast<size_t>(most);
        // Rows are cut where each thread gets several tiles (A is then packed once), else columns.
        by_rows = m >= 2 * threads * type.rows;
        const size_t tasks = threads * (by_rows ? divide_up(m, threads * cuts.rows) : 1);
        grain = divide_up(by_rows ? m : n, tasks);
        if (!by_rows) grain = round_up(grain, type.columns);
    }
};

// body(part) for the parts of C.
template <class Body>
void for_parts(const Gemm& type, const Plan& plan, const Result& c, size_t m, size_t n,
               const Body& body) {
    const auto task = [&](size_t begin, size_t end) {
        body(plan.by_rows ? Part{type, plan.cuts, c, begin, 0, end - begin, n}
                          : Part{type, plan.cuts, c, 0, begin, m, end - begin});
    };
    parallel_for(plan.by_rows ? m : n, plan.grain, task, plan.most_threads);
}

}  // namespace

size_t gemm_packed_bytes(const Gemm& type, size_t k, size_t n) {
    return product(round_up(n, type.columns), packed_k(type, k));
}

Packed gemm_pack(const Gemm& type, const Operand& b, size_t k, size_t n, char* packed,
                 int threads) {
    const size_t grain = round_up((size_t(1) << 17) / (k + 1) + 1, type.columns);
    const auto task = [&](size_t begin, size_t end) {
        pack_columns(type, b, k, n, begin, end - begin, packed);
    };
    parallel_for(n, grain, task, threads);
    return {packed, k, n};
}

void gemm(const Gemm& type, const Operand& a, const Packed& b, const Result& c, size_t m,
          int threads) {
    if (m == 0 || b.n == 0) return;
    const size_t padded = round_up(b.n, type.columns);
    for_parts(type, Plan(type, m, b.n, b.k, threads), c, m, b.n, [&](const Part& mine) {
        const auto panels = [&](size_t first, size_t depth, size_t j, size_t) {
            return b.data + padded * packed_k(type, first) +
                   (mine.column + j) * packed_k(type, depth);
        };
        multiply(mine, a, panels, b.k);
    });
}

void gemm(const Gemm& type, const Operand& a, const Operand& b, const Result& c, size_t m, size_t k,
          size_t n, int threads) {
    if (m == 0 || n == 0) return;
    const Plan plan(type, m, n, k, threads);
    if (type.row && m == 1 && k > 0 && !a.transposed && !b.transposed)
        return for_parts(type, plan, c, m, n, [&](const Part& mine) {
            for (size_t first = 0; first < k; first += type.block)
                type.row(a.data + first * type.element, part(type, b, first, mine.column).data,
                         b.stride, mine.at(0, 0), mine.n, std::min(type.block, k - first),
                         first > 0 || c.accumulate);
            mine.finish(0, 0, 1, mine.n);
        });
    if (!plan.by_rows)  // each thread packs its own columns, chunk by chunk, and uses them at once
        return for_parts(type, plan, c, m, n, [&](const Part& mine) {
            const Scratch scratch(gemm_packed_bytes(type, type.block, plan.cuts.columns));
            const auto panels = [&](size_t first, size_t depth, size_t j, size_t columns) {
                pack_columns(type, part(type, b, first, mine.column + j), depth, columns, 0,
                             columns, scratch.data());
                return static_cast<const char*>(scratch.data());
            };
            multiply(mine, a, panels, k);
        });
    // All columns at a time, if possible, and then as much of K as fits: A is packed but once.
    const size_t block_bytes = packed_k(type, type.block);
    const size_t fit = std::max(kUnpackedBytes / block_bytes / plan.cuts.columns, size_t(1));
    const size_t columns = std::min(n, fit * plan.cuts.columns);
    const size_t blocks =
        std::max(kUnpackedBytes / (round_up(columns, type.columns) * block_bytes), size_t(1));
    const size_t depth = std::min(k, blocks * type.block);
    const Scratch packed(gemm_packed_bytes(type, depth, columns));
    for (size_t j = 0; j < n; j += columns) {
        const size_t width = std::min(columns, n - j);
        Epilogue rest;
        if (c.epilogue) rest = part(type, *c.epilogue, 0, j);
        size_t first = 0, end;
        do {
            end = std::min(first + depth, k);
            const Packed mine = gemm_pack(type, part(type, b, first, j), end - first, width,
                                          packed.data(), threads);
            const Result to{c.data + j * type.sum, c.stride,
                            c.epilogue && end == k ? &rest : nullptr, c.accumulate || first > 0};
            gemm(type, part(type, a, 0, first), mine, to, m, threads);
            first = end;
        } while (end < k);
    }
}

}  // namespace firth
