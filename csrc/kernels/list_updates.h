// Steps of optimizers: updates.cpp.
#pragma once
#include "list.h"

#define FIRTH_UPDATE_KERNELS(K, T, type)

FIRTH_DECLARE_LIST(FIRTH_UPDATE_KERNELS(FIRTH_DECLARE_OF, float, f32)
                       FIRTH_UPDATE_KERNELS(FIRTH_DECLARE_OF, double, f64))
