#pragma once
#include "runtime/tensor.h"

namespace hardbit::ops {

/// A copy of the given rows of x (any dtype): indices i32 [R] in [0, N), else ERR_HARDBIT_ARGUMENT.
Tensor gather(const Tensor& x, const Tensor& indices);
/// Rows of a, then rows of b (same dtype and trailing shape).
Tensor concat(const Tensor& a, const Tensor& b);
/// Row i of a where mask[i] ≠ 0, else of b; mask u8 [N].
Tensor select_rows(const Tensor& mask, const Tensor& a, const Tensor& b);
/// f32 → u8 [N]: 1 where every element of the row (all but the first dimension) is exactly 0.
Tensor zero_rows(const Tensor& gradient);

}  // namespace hardbit::ops
