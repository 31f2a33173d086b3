#pragma once
#include "ops/conv2d.h"

namespace hardbit::cuda {

// Any size may be 0.

/// y = conv(x, w) + bias; `bias` may be null.
void conv2d_forward(const ops::Conv2d& conv, const float* x, const float* w, const float* bias, float* y);
void conv2d_backward_input(const ops::Conv2d& conv, const float* dy, const float* w, float* dx);
void conv2d_backward_weight(const ops::Conv2d& conv, const float* dy, const float* x, float* dw);

/// The same of operands rounded to bf16 (nearest, ties to even), with sums in f32.
void convolution_backward_data_bf16(const ops::Conv2d& conv, const float* dy, const float* w, float* dx);
void convolution_backward_weights_bf16(const ops::Conv2d& conv, const float* dy, const float* x, float* dw);

}  // namespace hardbit::cuda
