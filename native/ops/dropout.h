#pragma once
#include "runtime/tensor.h"

namespace hardbit::ops {

struct Dropout {
  Tensor y;     // f32, x's shape
  Tensor mask;  // bits, x's shape; 1 where the element is kept
};

/// y = fl(x/(1 − rate)) where the mask bit is 1, else +0. Element i in row-major order is kept where its
/// 32-bit draw, word i mod 4 of the Philox block (i/4, step low, step high, stream) under the key `seed`, is
/// at least rate·2^32: no two steps share a draw, and the thread count changes nothing. 0 ≤ rate < 1, stream
/// below 2^32, at most 2^34 elements. Srivastava et al. 2014.
Dropout dropout(const Tensor& x, double rate, std::uint64_t seed, std::uint64_t stream, std::uint64_t step);
/// fl(dy/(1 − rate)) where the mask bit is 1, else +0.
Tensor dropout_backward(const Tensor& dy, const Tensor& mask, double rate);

}  // namespace hardbit::ops
