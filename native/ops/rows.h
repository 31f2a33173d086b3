#pragma once
#include "runtime/tensor.h"

namespace hardbit::ops {

/// A copy of the given rows of x (any dtype): indices i32 [R] in [0, N), else ERR_HARDBIT_ARGUMENT. Indices
/// may be on the host where x is on a GPU; of those on the GPU, a wrong one is reported by the next read from
/// it.
Tensor gather(const Tensor& x, const Tensor& indices);
/// The given rows of images u8 | f32 [N, …] as f32, u8 k ↦ fl(k / 255): indices i32 [R] in [0, N), else
/// ERR_HARDBIT_ARGUMENT. Runs on the calling thread alone, so that it can work beside the OpenMP pool. Nobody
/// may write to x meanwhile; the indices are read once, before anything else.
Tensor gather_images(const Tensor& x, const Tensor& indices);
/// Rows of a, then rows of b (same dtype and trailing shape).
Tensor concat(const Tensor& a, const Tensor& b);
/// Row i of a where mask[i] ≠ 0, else of b; mask u8 [N].
Tensor select_rows(const Tensor& mask, const Tensor& a, const Tensor& b);
/// f32 → u8 [N]: 1 where every element of the row (all but the first dimension) is exactly 0.
Tensor zero_rows(const Tensor& gradient);

}  // namespace hardbit::ops
