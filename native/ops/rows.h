#pragma once
#include "runtime/tensor.h"

namespace hardbit::ops {

// Indices are i32 [R] in [0, N), else ERR_HARDBIT_ARGUMENT. They lie on the device of x, or on the cpu and
// are copied there. Those on the GPU are checked as they are used: the next read from the GPU throws.

/// A copy of the given rows of x (any dtype).
Tensor gather(const Tensor& x, const Tensor& indices);
/// The given rows of images u8 | f32 [N, …] as f32, u8 k ↦ fl(k / 255). Runs on the calling thread alone, so
/// that it can work beside the OpenMP pool. Nobody may write to x meanwhile; indices on the cpu are read
/// once, before anything else.
Tensor gather_images(const Tensor& x, const Tensor& indices);
/// Rows of a, then rows of b (same dtype and trailing shape).
Tensor concat(const Tensor& a, const Tensor& b);
/// Row i of a where mask[i] ≠ 0, else of b; mask u8 [N].
Tensor select_rows(const Tensor& mask, const Tensor& a, const Tensor& b);
/// f32 → u8 [N]: 1 where every element of the row (all but the first dimension) is exactly 0.
Tensor zero_rows(const Tensor& gradient);

}  // namespace hardbit::ops
