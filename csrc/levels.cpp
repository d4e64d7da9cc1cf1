// Detection by CPUID and XCR0 (an operating system may not save the wide registers). Written by
// hand because __builtin_cpu_supports differs between gcc 12 and older clang in the names it knows.
#include "levels.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#endif

namespace firth {

namespace base {
extern const Kernels kernels;
}

#ifdef FIRTH_X86_LEVELS
namespace v3 {
extern const Kernels kernels;
}
namespace v4 {
extern const Kernels kernels;
}
namespace v4x {
extern const Kernels kernels;
}

namespace {

struct Cpu {
    bool intel = false, v3 = false, v4 = false, v4x = false;

    Cpu() {
        unsigned a, b, c, d;
        if (!__get_cpuid(0, &a, &b, &c, &d)) return;
        intel = b == signature_INTEL_ebx && c == signature_INTEL_ecx && d == signature_INTEL_edx;
        if (!__get_cpuid(1, &a, &b, &c, &d)) return;
        // FMA 12, SSE4.1 19, SSE4.2 20, MOVBE 22, POPCNT 23, OSXSAVE 27, AVX 28, F16C 29
        const unsigned v3_ecx =
            1u << 12 | 1u << 19 | 1u << 20 | 1u << 22 | 1u << 23 | 1u << 27 | 1u << 28 | 1u << 29;
        if ((c & v3_ecx) != v3_ecx) return;
        unsigned xcr0, xcr0_high;
        __asm__("xgetbv" : "=a"(xcr0), "=d"(xcr0_high) : "c"(0));
        if ((xcr0 & 0x06) != 0x06) return;  // xmm and ymm are saved
        unsigned extended_c = 0;
        if (!__get_cpuid(0x80000001, &a, &b, &extended_c, &d)) return;
        if (!(extended_c & 1u << 5)) return;  // LZCNT
        if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
        const unsigned leaf7_b = b, leaf7_c = c, subleaves = a;
        const unsigned v3_ebx = 1u << 3 | 1u << 5 | 1u << 8;  // BMI1, AVX2, BMI2
        v3 = (leaf7_b & v3_ebx) == v3_ebx;
        // AVX-512 F 16, DQ 17, CD 28, BW 30, VL 31; zmm and mask registers are saved
        const unsigned v4_ebx = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;
        v4 = v3 && (leaf7_b & v4_ebx) == v4_ebx && (xcr0 & 0xe6) == 0xe6;
        unsigned leaf71_a = 0;
        if (subleaves >= 1) __get_cpuid_count(7, 1, &leaf71_a, &b, &c, &d);
        v4x = v4 && (leaf7_c & 1u << 11) && (leaf71_a & 1u << 5);  // VNNI, BF16
    }
};

// The v4x table with bfloat16 widened to float32, as v4 has it.
const Kernels& widened_v4x() {
    static const Kernels table = [] {
        Kernels kernels = v4x::kernels;
        kernels.gemm_bf16 = v4::kernels.gemm_bf16;
        return kernels;
    }();
    return table;
}

}  // namespace
#endif

const Kernels* const* usable_levels(size_t* count) {
    struct List {
        const Kernels* items[4];
        size_t size = 0;
        List() {
#ifdef FIRTH_X86_LEVELS
            const Cpu cpu;
            // VDPBF16PS has half the rate of float32 on Intel's cores, twice that of it on AMD's.
            if (cpu.v4x) items[size++] = cpu.intel ? &widened_v4x() : &v4x::kernels;
            if (cpu.v4) items[size++] = &v4::kernels;
            if (cpu.v3) items[size++] = &v3::kernels;
#endif
            items[size++] = &base::kernels;
        }
    };
    static const List list;
    *count = list.size;
    return list.items;
}

const Kernels* other_v4x() {
#ifdef FIRTH_X86_LEVELS
    const Cpu cpu;
    if (cpu.v4x) return cpu.intel ? &v4x::kernels : &widened_v4x();
#endif
    return nullptr;
}

const char* const* compiled_levels(size_t* count) {
    static const char* const names[] = {
#ifdef FIRTH_X86_LEVELS
        "v4x", "v4", "v3",
#endif
        "base"};
    *count = sizeof names / sizeof *names;
    return names;
}

}  // namespace firth
