#include "caches.h"

#include <algorithm>
#include <atomic>

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#endif

namespace firth {
namespace {

constexpr size_t kLeast = size_t(256) << 10, kUsual = size_t(1) << 20, kMost = size_t(4) << 20;

size_t found() {
#if defined(__x86_64__) || defined(_M_X64)
    // Intel's leaf and AMD's, of one form; a processor has one of them, or gives zeros.
    for (const unsigned leaf : {4u, 0x8000001du})
        for (unsigned i = 0; i < 8; i++) {
            unsigned a, b, c, d;
            if (!__get_cpuid_count(leaf, i, &a, &b, &c, &d) || (a & 31) == 0) break;
            const unsigned type = a & 31, level = a >> 5 & 7, sharers = (a >> 14 & 0xfff) + 1;
            if (level != 2 || type == 2) continue;  // 2: instructions only
            const size_t line = (b & 0xfff) + 1, parts = (b >> 12 & 0x3ff) + 1,
                         ways = (b >> 22) + 1;
            // Two hyperthreads are one core; more share it with others.
            const size_t bytes =
                line * parts * ways * (size_t(c) + 1) / (sharers > 2 ? sharers / 2 : 1);
            return bytes >= kLeast && bytes <= kMost ? bytes : kUsual;
        }
#endif
    return kUsual;
}

std::atomic<size_t> forced{0};

}  // namespace

size_t l2_bytes() {
    static const size_t bytes = found();
    const size_t other = forced.load(std::memory_order_relaxed);
    return other ? other : bytes;
}

void set_l2_bytes(size_t bytes) {
    forced.store(bytes ? std::clamp(bytes, kLeast, kMost) : 0, std::memory_order_relaxed);
}

}  // namespace firth
