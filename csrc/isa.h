// The vector type of this level and the only intrinsics: load/store (partial too), fma, max, sums,
// exp, log. No algorithm. Everything here is inlined into the objects of one level (namespace
// firth::<level>), so that no instruction of a higher level can leak into a lower one.
//
// Arithmetic on vectors is written with the compiler's operators (+ - * /, comparisons); a function
// is here only where an operator cannot express it. Names carry the lane type and count: f32xN is
// the level's full register, N = 4 (SSE2, NEON), 8 (AVX2) or 16 (AVX-512) floats.
//
// isa/<target>.h: the same functions in each file, by the intrinsics of one instruction set.
// isa/generic.h, isa/math.h: common functions on top of these; isa/tiles.h: matrix tiles. Only this
// file includes them.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "activations.h"

#define FIRTH_INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#include "isa/avx512.h"
#elif defined(__AVX2__)
#include "isa/avx2.h"
#elif defined(__aarch64__)
#include "isa/neon.h"
#else
#include "isa/sse2.h"
#endif

#include "isa/generic.h"
#include "isa/math.h"

#if FIRTH_TILES  // set by CMake for the levels that have them
#include "isa/tiles.h"
#endif
