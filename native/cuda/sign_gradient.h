#pragma once
#include <cstdint>

#include "ops/conv2d.h"

namespace hardbit::cuda {

class RoundedOutputs;

// The gradients of byte_gradient.h where the other operand is signs (or an image's codes), by products of
// warpgroups (wgmma.h): signs are the left operand, which a thread makes from bits in registers, and dy's
// bytes lie in shared memory. Both are exact; they differ in speed alone.

/// dx where this way is faster: strides of 1, channels that fill a tile. `q` is by sample, `signs` bits
/// [m, k]; the weights are ±coefficient. False: not computed.
bool sign_backward_input(const ops::Conv2d& conv, const RoundedOutputs& q, const std::uint64_t* signs,
                         int coefficient, float scale, float* dx);

/// dw where this way is faster; `q` is by channel, x bits [n, h, w, c], or codes of `bits` bits where `signs`
/// is null: those of few channels, once for every tap.
bool sign_backward_weight(const ops::Conv2d& conv, ops::PaddingValue padding, const RoundedOutputs& q,
                          const std::uint64_t* signs, const std::uint8_t* codes, int bits, float* dw);

/// Of turned operands of weight gradients at a time; tests make it smaller.
extern std::int64_t most_turned_bytes;

}  // namespace hardbit::cuda
