// Detection on x86 by CPUID and XCR0 (an operating system may not save the wide registers). Written
// by hand because __builtin_cpu_supports differs between gcc 12 and older clang in the names it
// knows. On arm64 by asking the system.
#include "levels.h"

#include <atomic>
#include <cerrno>

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#endif
#ifdef __linux__
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#ifdef __APPLE__
#include <sys/sysctl.h>
#endif

namespace firth {

namespace base {
extern const Kernels kernels;
}

// FIRTH_HAS_v3 and so on: the levels that CMake compiles.
#ifdef FIRTH_HAS_v3
namespace v3 {
extern const Kernels kernels;
}
namespace v3x {
extern const Kernels kernels;
}
namespace v3x_emulated {
extern const Kernels kernels;
}
namespace v4 {
extern const Kernels kernels;
}
namespace v4x {
extern const Kernels kernels;
}
namespace tiles {
extern const Kernels kernels;
}
namespace tiles_emulated {
extern const Kernels kernels;
}

namespace {

constexpr long kTileData = 18;  // the state component that holds the tiles

// Linux's arch_prctl on extended state; 0, or an error number. Other systems have no such call.
int extended_state(long operation, unsigned long argument) {
#if defined(__linux__) && defined(SYS_arch_prctl)
    return syscall(SYS_arch_prctl, operation, argument) == 0 ? 0 : errno;
#else
    (void)operation, (void)argument;
    return ENOSYS;
#endif
}

// Of each level, why this machine does not run it, or null.
struct Cpu {
    bool intel;  // the vendor
    const char *v3, *v3x, *v4, *v4x, *tiles, *v3x_emulated;

    Cpu() {
        unsigned a, b = 0, c = 0, d = 0;
        intel = __get_cpuid(0, &a, &b, &c, &d) && b == signature_INTEL_ebx &&
                c == signature_INTEL_ecx && d == signature_INTEL_edx;
        v3 = obstacle_v3();
        v3x = v3 ? v3 : obstacle_v3x();
        v4 = v3 ? v3 : obstacle_v4();
        v4x = v4 ? v4 : obstacle_v4x();
        tiles = v4x ? v4x : obstacle_tiles();
        v3x_emulated = v4 ? v4 : has_avx512_vnni() ? nullptr : "the CPU has no AVX512_VNNI";
    }

  private:
    unsigned b7_ = 0, c7_ = 0, d7_ = 0, subleaves_ = 0, xcr0_ = 0;

    const char* obstacle_v3() {
        static const char* const lacks = "the CPU has no AVX2, FMA, F16C and BMI";
        unsigned a, b, c, d;
        if (!__get_cpuid(1, &a, &b, &c, &d)) return lacks;
        // FMA 12, SSE4.1 19, SSE4.2 20, MOVBE 22, POPCNT 23, OSXSAVE 27, AVX 28, F16C 29
        const unsigned v3_ecx =
            1u << 12 | 1u << 19 | 1u << 20 | 1u << 22 | 1u << 23 | 1u << 27 | 1u << 28 | 1u << 29;
        if ((c & v3_ecx) != v3_ecx) return lacks;
        unsigned high;
        __asm__("xgetbv" : "=a"(xcr0_), "=d"(high) : "c"(0));
        if ((xcr0_ & 0x06) != 0x06) return "the system does not save AVX registers";
        if (!__get_cpuid(0x80000001, &a, &b, &c, &d)) return lacks;
        if (!(c & 1u << 5)) return lacks;  // LZCNT
        if (!__get_cpuid_count(7, 0, &subleaves_, &b7_, &c7_, &d7_)) return lacks;
        const unsigned v3_ebx = 1u << 3 | 1u << 5 | 1u << 8;  // BMI1, AVX2, BMI2
        return (b7_ & v3_ebx) == v3_ebx ? nullptr : lacks;
    }

    // EAX of leaf 7, subleaf 1.
    unsigned a71() const {
        unsigned a = 0, b, c, d;
        if (subleaves_ >= 1) __get_cpuid_count(7, 1, &a, &b, &c, &d);
        return a;
    }

    bool has_avx512_vnni() const { return c7_ & 1u << 11; }

    const char* obstacle_v3x() { return a71() & 1u << 4 ? nullptr : "the CPU has no AVX-VNNI"; }

    const char* obstacle_v4() {
        // AVX-512 F 16, DQ 17, CD 28, BW 30, VL 31
        const unsigned v4_ebx = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;
        if ((b7_ & v4_ebx) != v4_ebx) return "the CPU has no AVX-512 (F, BW, CD, DQ, VL)";
        return (xcr0_ & 0xe6) == 0xe6 ? nullptr : "the system does not save AVX-512 registers";
    }

    const char* obstacle_v4x() {
        return has_avx512_vnni() && (a71() & 1u << 5)
                   ? nullptr
                   : "the CPU has no AVX512_VNNI and AVX512_BF16";
    }

    const char* obstacle_tiles() {
        const unsigned amx = 1u << 22 | 1u << 24 | 1u << 25;  // AMX-BF16, AMX-TILE, AMX-INT8
        if ((d7_ & amx) != amx) return "the CPU has no matrix tiles (AMX-TILE, AMX-BF16, AMX-INT8)";
        const unsigned long state = 3ul << 17;  // TILECFG, TILEDATA
        unsigned long supported = 0;
        // ARCH_GET_XCOMP_SUPP: asks, changes nothing
        if ((xcr0_ & state) != state ||
            extended_state(0x1021, reinterpret_cast<unsigned long>(&supported)) != 0 ||
            (supported & state) != state)
            return "the system does not save matrix tiles";
        return nullptr;
    }
};

#ifdef FIRTH_HAS_v4x
// The v4x table with bfloat16 widened to float32, as v4 has it.
const Kernels& widened_v4x() {
    static const Kernels table = [] {
        Kernels kernels = v4x::kernels;
        kernels.gemm_bf16 = v4::kernels.gemm_bf16;
        return kernels;
    }();
    return table;
}
#endif

}  // namespace
#endif

#ifdef FIRTH_HAS_dotprod
namespace dotprod {
extern const Kernels kernels;
}
namespace i8mm {
extern const Kernels kernels;
}

namespace {

// Of each level, why this machine does not run it, or null.
struct Cpu {
    const char *dotprod = nullptr, *i8mm = nullptr;

    Cpu() {
#if defined(__APPLE__)
        const bool has_dotprod = has("hw.optional.arm.FEAT_DotProd");
        const bool has_i8mm = has("hw.optional.arm.FEAT_I8MM");
#else
        const bool has_dotprod = getauxval(AT_HWCAP) & 1ul << 20;  // ASIMDDP
        const bool has_i8mm = getauxval(AT_HWCAP2) & 1ul << 13;    // I8MM
#endif
        if (!has_dotprod)
            dotprod = i8mm = "the CPU has no products of bytes (DotProd)";
        else if (!has_i8mm)
            i8mm = "the CPU has no products of bytes of both signs (I8MM)";
    }

  private:
#if defined(__APPLE__)
    static bool has(const char* name) {
        int value = 0;
        size_t size = sizeof value;
        return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value;
    }
#endif
};

}  // namespace
#endif

const LevelState* levels(size_t* count) {
    struct List {
        LevelState items[8];
        size_t size = 0;
        List() {
#ifdef FIRTH_HAS_v3
            const Cpu cpu;
#ifdef FIRTH_HAS_tiles
            items[size++] = {&tiles::kernels, cpu.tiles};
#endif
#ifdef FIRTH_HAS_v4x
            // VDPBF16PS has half the rate of float32 on Intel's cores, twice that of it on AMD's.
            items[size++] = {cpu.intel ? &widened_v4x() : &v4x::kernels, cpu.v4x};
#endif
#ifdef FIRTH_HAS_v4
            items[size++] = {&v4::kernels, cpu.v4};
#endif
#ifdef FIRTH_HAS_v3x
            items[size++] = {&v3x::kernels, cpu.v3x};
#endif
            items[size++] = {&v3::kernels, cpu.v3};
#endif
#ifdef FIRTH_HAS_dotprod
            const Cpu cpu;
#ifdef FIRTH_HAS_i8mm
            items[size++] = {&i8mm::kernels, cpu.i8mm};
#endif
            items[size++] = {&dotprod::kernels, cpu.dotprod};
#endif
            items[size++] = {&base::kernels, nullptr};
#ifdef FIRTH_HAS_tiles_emulated
            items[size++] = {&tiles_emulated::kernels, cpu.v4x};
#endif
#ifdef FIRTH_HAS_v3x_emulated
            items[size++] = {&v3x_emulated::kernels, cpu.v3x_emulated};
#endif
        }
    };
    static const List list;
    *count = list.size;
    return list.items;
}

const Kernels* other_v4x() {
#ifdef FIRTH_HAS_v4x
    const Cpu cpu;
    if (!cpu.v4x) return cpu.intel ? &v4x::kernels : &widened_v4x();
#endif
    return nullptr;
}

bool bfloat16_is_fast(const Kernels& level) {
    const auto multiply = level.gemm_bf16.multiply;
#ifdef FIRTH_HAS_tiles
    if (multiply == tiles::kernels.gemm_bf16.multiply) return true;
#endif
#ifdef FIRTH_HAS_v4x
    if (multiply == v4x::kernels.gemm_bf16.multiply) return true;  // not widened_v4x
#endif
    (void)multiply;
    return false;
}

const char* request(const Kernels& level) {
#ifdef FIRTH_HAS_tiles
    static std::atomic<bool> granted{false};
    if (&level != &tiles::kernels || granted.load(std::memory_order_relaxed)) return nullptr;
    const int error = extended_state(0x1023, kTileData);  // ARCH_REQ_XCOMP_PERM
    if (error == ENOSPC) return "a thread's alternate signal stack is too small to save tiles";
    if (error != 0) return "the system refuses this process matrix tiles";
    granted.store(true, std::memory_order_relaxed);
#endif
    (void)level;
    return nullptr;
}

}  // namespace firth
