#pragma once
#include "ops/conv2d.h"

namespace hardbit::cuda {

// Of fixed summation order (cpu/product/float_product.h): the bits are the CPU's. `bias` may be null.

/// y = conv(x, w) + bias.
void ordered_conv2d(const ops::Conv2d& conv, const float* x, const float* w, const float* bias, float* y);
/// y [n, m] = x [n, k] · wᵀ + bias, w [m, k].
void ordered_matmul(std::int64_t n, std::int64_t m, std::int64_t k, const float* x, const float* w,
                    const float* bias, float* y);

}  // namespace hardbit::cuda
