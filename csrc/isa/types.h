// The vector types of a target, which has defined FIRTH_VECTOR_BYTES.
#pragma once

namespace firth::FIRTH_LEVEL {

typedef float f32xN __attribute__((vector_size(FIRTH_VECTOR_BYTES)));
typedef double f64xN __attribute__((vector_size(FIRTH_VECTOR_BYTES)));
typedef int32_t i32xN __attribute__((vector_size(FIRTH_VECTOR_BYTES)));
typedef int64_t i64xN __attribute__((vector_size(FIRTH_VECTOR_BYTES)));
typedef float f32x4 __attribute__((vector_size(16)));   // the same on every level
typedef double f64x2 __attribute__((vector_size(16)));  // the same on every level

constexpr size_t kLanesF32 = FIRTH_VECTOR_BYTES / sizeof(float);
constexpr size_t kLanesF64 = FIRTH_VECTOR_BYTES / sizeof(double);

// The register type that belongs to an element type, for kernels written once for float and double.
template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
    typedef f32xN type;
};
template <>
struct VectorOf<double> {
    typedef f64xN type;
};
template <>
struct VectorOf<int32_t> {
    typedef i32xN type;
};
template <class T>
using vector_of = typename VectorOf<T>::type;
template <class T>
constexpr size_t kLanes = FIRTH_VECTOR_BYTES / sizeof(T);

}  // namespace firth::FIRTH_LEVEL
