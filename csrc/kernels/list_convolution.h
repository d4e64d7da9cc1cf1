// Convolutions, pools and batch norms: convolution.cpp.
#pragma once
#include "list.h"

#define FIRTH_CONVOLUTION_KERNELS(K, T, type)

FIRTH_DECLARE_LIST(FIRTH_CONVOLUTION_KERNELS(FIRTH_DECLARE_OF, float, f32)
                       FIRTH_CONVOLUTION_KERNELS(FIRTH_DECLARE_OF, double, f64))
