#pragma once
#include <cstdint>
#include <vector>

#include "cpu/kernels/sign_sum.h"
#include "cpu/output_gradient.h"
#include "ops/binary_conv2d.h"

namespace hardbit::cpu {

// Gradients of binary convolutions in fp32 by sums under signs (cpu/kernels/sign_sum.h): one operand is real,
// the other is one plane of ±1. The order of each sum is a function of the shapes alone: results are the same
// on every row of the table and thread count. A matrix product [N, K] x [M, K] is the convolution of N images
// of one pixel.

/// The row by which a convolution's gradients are summed; null where oneDNN's products are faster.
const SignSumKernels* choose_sign_sums(const ops::Conv2d& conv);

/// What choose_sign_sums() says of layers as networks have them, by name: rows of a table for people.
struct FloatGradientExample {
  const char* layer;
  const char* kernel;  // null for oneDNN
};
std::vector<FloatGradientExample> float_gradient_examples();

/// dx [n, h, w, c] of weights factor·s, s the signs of `plane` [m][words(k)] and one factor an output
/// channel.
void float_backward_input(const SignSumKernels& kernels, const ops::Conv2d& conv, const OutputGradient& dy,
                          const std::uint64_t* plane, const float* factors, float* dx);

/// dw [m, kh·kw·(c / groups)] of the signs x [n, h, w][words(c)]. Where the kernel reaches beyond the image,
/// all of a channel's dy takes part in the rounding of each of its sums, and an infinity there may make them
/// NaN.
void float_backward_weight(const SignSumKernels& kernels, const ops::Conv2d& conv, ops::PaddingValue padding,
                           const float* dy, const std::uint64_t* x, float* dw);

}  // namespace hardbit::cpu
