// Gradient of attention: attention_backward.cpp.
#pragma once
#include "list.h"

#define FIRTH_ATTENTION_BACKWARD_KERNELS(K, T, type)

FIRTH_DECLARE_LIST(FIRTH_ATTENTION_BACKWARD_KERNELS(FIRTH_DECLARE_OF, float, f32)
                       FIRTH_ATTENTION_BACKWARD_KERNELS(FIRTH_DECLARE_OF, double, f64))
