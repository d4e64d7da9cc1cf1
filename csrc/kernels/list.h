// What the topic lists, list_<topic>.h, have in common. A list is a macro with one row a kernel:
//   K(return type, name, (parameters))        or, where float and double share the row,
//   K(return type, name, type, (parameters))  which means name_f32 and name_f64.
// A kernel's file includes the list of its topic, so that a new row recompiles that topic alone.
//
// Sizes and strides are in elements. "rows x n" means `rows` rows of `n` contiguous elements.
// Shapes and layout are above each definition.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define FIRTH_DECLARE(ret, name, parameters) ret name parameters;
#define FIRTH_DECLARE_OF(ret, name, type, parameters) ret name##_##type parameters;

// FIRTH_DECLARE_REFINED: kernels that every level has for itself. FIRTH_DECLARE_LIST: those that a
// level which refines another takes from it (CMakeLists.txt).
#ifdef FIRTH_LEVEL  // set by CMake for the objects of one level
#ifndef FIRTH_REFINES
#define FIRTH_REFINES FIRTH_LEVEL
#endif
#define FIRTH_DECLARE_LIST(declarations) \
    namespace firth::FIRTH_REFINES { \
    declarations \
    }
#define FIRTH_DECLARE_REFINED(declarations) \
    namespace firth::FIRTH_LEVEL { \
    declarations \
    }
#else
#define FIRTH_DECLARE_LIST(declarations)
#define FIRTH_DECLARE_REFINED(declarations)
#endif
