// Loop nest, outermost first (Van Zee and van de Geijn, BLIS, ACM TOMS 41(3), 2015):
//
//   tasks over rows or columns of C    one thread each
//     blocks of K                      gemm_block_k
//       blocks of rows                 A packed into scratch, about half of L2
//         chunks of columns            panels of packed B that stay in L2 meanwhile
//           kernel: tiles of A (L1) x panels of B
#include "engines/gemm.h"

#include <algorithm>
#include <cstring>

#include "parallel.h"

namespace firth {
namespace {

constexpr size_t kScratchSlots = 5;
constexpr size_t kRowsOfBlock = 224;                // of A: 224 x 384 units is 344 KB
constexpr size_t kColumnsOfChunk = 128;             // of B: 128 x 384 units is 197 KB
constexpr size_t kUnpackedBytes = size_t(4) << 20;  // of B that is packed at a time for all threads
constexpr double kSerialFlops = 2e6;                // below: waking a thread costs more
constexpr double kFlopsOfElement = 6;               // the time of reading an element of B, in flops

size_t round_up(size_t value, size_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}
size_t divide_up(size_t value, size_t divisor) { return (value + divisor - 1) / divisor; }

// Bytes of a packed column (or a packed row of A) that holds k elements.
template <class T>
size_t packed_k(size_t k) {
    return round_up(k * sizeof(T), 4);
}

template <class T>
auto block_kernel(const Kernels& kernels) {
    if constexpr (sizeof(T) == 4)
        return kernels.gemm_f32;
    else
        return kernels.gemm_bf16;
}

// Packs rows [first, first + depth) and columns [column, column + n) of B into panels at `to`.
template <class T>
void pack_block(const Kernels& kernels, const Operand<T>& b, size_t first, size_t depth,
                size_t column, size_t n, char* to) {
    if (b.transposed)
        return kernels.gemm_pack_b_transposed(b.data + ptrdiff_t(column) * b.stride + first,
                                              b.stride * ptrdiff_t(sizeof(T)), to, n,
                                              depth * sizeof(T));
    const T* from = b.data + ptrdiff_t(first) * b.stride + column;
    if constexpr (sizeof(T) == 4)
        kernels.gemm_pack_b_f32(from, b.stride, to, depth, n);
    else
        kernels.gemm_pack_b_bf16(from, b.stride, to, depth, n);
}

// Packs columns [column, column + n) of B, column a multiple of gemm_columns.
template <class T>
void pack_columns(const Kernels& kernels, const Operand<T>& b, size_t k, size_t columns_all,
                  size_t column, size_t n, char* packed) {
    const size_t padded = round_up(columns_all, kernels.gemm_columns);
    for (size_t first = 0; first < k; first += gemm_block_k<T>) {
        const size_t depth = std::min(gemm_block_k<T>, k - first);
        pack_block(kernels, b, first, depth, column, n,
                   packed + padded * packed_k<T>(first) + column * packed_k<T>(depth));
    }
}

// C (+)= A B on the calling thread; panels(first, depth, column, n) gives the packed block of B.
template <class T, class Panels>
void multiply(const Kernels& kernels, const T* a, ptrdiff_t a_stride, const Panels& panels,
              float* c, ptrdiff_t c_stride, size_t m, size_t n, size_t k, bool accumulate) {
    const auto kernel = block_kernel<T>(kernels);
    if (k == 0 && !accumulate)
        for (size_t i = 0; i < m; i++) std::memset(c + ptrdiff_t(i) * c_stride, 0, n * sizeof *c);
    // Blocks of equal height: a short last one would waste the packed panels.
    const size_t row_blocks = divide_up(m, kRowsOfBlock);
    char* scratch = thread_scratch(
        0, divide_up(m, std::max<size_t>(row_blocks, 1)) * packed_k<T>(gemm_block_k<T>));
    for (size_t first = 0; first < k; first += gemm_block_k<T>) {
        const size_t depth = std::min(gemm_block_k<T>, k - first);
        for (size_t i = 0; i < row_blocks; i++) {
            const size_t row = i * m / row_blocks, rows = (i + 1) * m / row_blocks - row;
            kernels.gemm_pack_a(a + ptrdiff_t(row) * a_stride + first,
                                a_stride * ptrdiff_t(sizeof(T)), scratch, rows, depth * sizeof(T));
            for (size_t j = 0; j < n; j += kColumnsOfChunk) {
                const size_t columns = std::min(kColumnsOfChunk, n - j);
                kernel(scratch, panels(first, depth, j, columns), c + ptrdiff_t(row) * c_stride + j,
                       c_stride, rows, columns, depth, accumulate || first > 0);
            }
        }
    }
}

// How a product is shared out: ranges of `grain` rows or columns, one task each.
struct Plan {
    bool by_rows;
    size_t whole, grain;

    Plan(const Kernels& kernels, size_t m, size_t n, size_t k) {
        const double flops = (2.0 * double(m) + kFlopsOfElement) * double(n) * double(k);
        const size_t threads = flops < kSerialFlops ? 1 : static_cast<size_t>(num_threads());
        // Rows are cut where each thread gets several tiles (A is then packed once), else columns.
        by_rows = m >= 2 * threads * kernels.gemm_rows;
        whole = by_rows ? m : n;
        const size_t tasks = threads * (by_rows ? divide_up(m, threads * kRowsOfBlock) : 1);
        grain = divide_up(whole, tasks);
        if (!by_rows) grain = round_up(grain, kernels.gemm_columns);
    }
};

}  // namespace

AlignedBuffer::AlignedBuffer(size_t bytes)
    : memory_(new char[bytes + 64]),
      data_(memory_.get() + (64 - reinterpret_cast<uintptr_t>(memory_.get()) % 64) % 64) {}

char* thread_scratch(int slot, size_t bytes) {
    struct Slot {
        AlignedBuffer buffer;
        size_t bytes = 0;
    };
    thread_local Slot slots[kScratchSlots];
    Slot& mine = slots[slot];
    if (mine.bytes < bytes) {
        mine.buffer = AlignedBuffer(bytes);
        mine.bytes = bytes;
    }
    return mine.buffer.data();
}

template <class T>
size_t gemm_packed_bytes(const Kernels& kernels, size_t k, size_t n) {
    return round_up(n, kernels.gemm_columns) * packed_k<T>(k);
}

template <class T>
Packed<T> gemm_pack(const Kernels& kernels, const Operand<T>& b, size_t k, size_t n, char* packed) {
    pack_columns(kernels, b, k, n, 0, n, packed);
    return {packed, k, n};
}

template <class T>
Packed<T> gemm_pack_parallel(const Kernels& kernels, const Operand<T>& b, size_t k, size_t n,
                             char* packed) {
    const size_t grain = round_up((size_t(1) << 17) / (k + 1) + 1, kernels.gemm_columns);
    parallel_for(n, grain, [&](size_t begin, size_t end) {
        pack_columns(kernels, b, k, n, begin, end - begin, packed);
    });
    return {packed, k, n};
}

template <class T>
void gemm_serial(const Kernels& kernels, const T* a, ptrdiff_t a_stride, const Packed<T>& b,
                 float* c, ptrdiff_t c_stride, size_t m, size_t column, size_t n, bool accumulate) {
    const size_t padded = round_up(b.n, kernels.gemm_columns);
    const auto panels = [&](size_t first, size_t depth, size_t j, size_t) {
        return b.data + padded * packed_k<T>(first) + (column + j) * packed_k<T>(depth);
    };
    multiply(kernels, a, a_stride, panels, c, c_stride, m, n, b.k, accumulate);
}

template <class T>
void gemm(const Kernels& kernels, const T* a, ptrdiff_t a_stride, const Packed<T>& b, float* c,
          ptrdiff_t c_stride, size_t m, bool accumulate) {
    if (m == 0 || b.n == 0) return;
    const Plan plan(kernels, m, b.n, b.k);
    parallel_for(plan.whole, plan.grain, [&](size_t begin, size_t end) {
        if (plan.by_rows)
            gemm_serial(kernels, a + ptrdiff_t(begin) * a_stride, a_stride, b,
                        c + ptrdiff_t(begin) * c_stride, c_stride, end - begin, 0, b.n, accumulate);
        else
            gemm_serial(kernels, a, a_stride, b, c + begin, c_stride, m, begin, end - begin,
                        accumulate);
    });
}

template <class T>
void gemm(const Kernels& kernels, const T* a, ptrdiff_t a_stride, const Operand<T>& b, float* c,
          ptrdiff_t c_stride, size_t m, size_t k, size_t n, bool accumulate) {
    if (m == 0 || n == 0) return;
    const Plan plan(kernels, m, n, k);
    if constexpr (sizeof(T) == 4)
        if (m == 1 && k > 0 && !b.transposed) {
            parallel_for(n, plan.grain, [&](size_t begin, size_t end) {
                for (size_t first = 0; first < k; first += gemm_block_k<T>)
                    kernels.gemm_row_f32(a + first, b.data + ptrdiff_t(first) * b.stride + begin,
                                         b.stride, c + begin, end - begin,
                                         std::min(gemm_block_k<T>, k - first),
                                         accumulate || first > 0);
            });
            return;
        }
    if (!plan.by_rows) {  // each thread packs its own columns, chunk by chunk, and uses them at
                          // once
        parallel_for(n, plan.grain, [&](size_t begin, size_t end) {
            char* scratch =
                thread_scratch(1, gemm_packed_bytes<T>(kernels, gemm_block_k<T>, kColumnsOfChunk));
            const auto panels = [&](size_t first, size_t depth, size_t j, size_t columns) {
                pack_block(kernels, b, first, depth, begin + j, columns, scratch);
                return static_cast<const char*>(scratch);
            };
            multiply(kernels, a, a_stride, panels, c + begin, c_stride, m, end - begin, k,
                     accumulate);
        });
        return;
    }
    const size_t column_bytes = std::max<size_t>(packed_k<T>(k), 1);
    const size_t step = round_up(std::max<size_t>(kUnpackedBytes / column_bytes, 1), 128);
    char* packed = thread_scratch(2, gemm_packed_bytes<T>(kernels, k, std::min(n, step)));
    for (size_t j = 0; j < n; j += step) {
        const size_t columns = std::min(step, n - j);
        Operand<T> part = b;
        part.data += b.transposed ? ptrdiff_t(j) * b.stride : ptrdiff_t(j);
        gemm(kernels, a, a_stride, gemm_pack_parallel(kernels, part, k, columns, packed), c + j,
             c_stride, m, accumulate);
    }
}

#define FIRTH_GEMM(T) \
    template size_t gemm_packed_bytes<T>(const Kernels&, size_t, size_t); \
    template Packed<T> gemm_pack(const Kernels&, const Operand<T>&, size_t, size_t, char*); \
    template Packed<T> gemm_pack_parallel(const Kernels&, const Operand<T>&, size_t, size_t, \
                                          char*); \
    template void gemm_serial(const Kernels&, const T*, ptrdiff_t, const Packed<T>&, float*, \
                              ptrdiff_t, size_t, size_t, size_t, bool); \
    template void gemm(const Kernels&, const T*, ptrdiff_t, const Packed<T>&, float*, ptrdiff_t, \
                       size_t, bool); \
    template void gemm(const Kernels&, const T*, ptrdiff_t, const Operand<T>&, float*, ptrdiff_t, \
                       size_t, size_t, size_t, bool);
FIRTH_GEMM(float)
FIRTH_GEMM(uint16_t)

}  // namespace firth
