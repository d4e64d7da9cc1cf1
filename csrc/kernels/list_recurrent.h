// Gates of recurrent networks and their gradients: recurrent.cpp.
#pragma once
#include "list.h"

#define FIRTH_RECURRENT_KERNELS(K, T, type)

FIRTH_DECLARE_LIST(FIRTH_RECURRENT_KERNELS(FIRTH_DECLARE_OF, float, f32)
                       FIRTH_RECURRENT_KERNELS(FIRTH_DECLARE_OF, double, f64))
