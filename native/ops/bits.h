#pragma once
#include "runtime/tensor.h"

namespace hardbit::ops {

/// f32 → bits of the same shape: +1 where x ≥ 0, so sign(0) = sign(−0) = +1; a NaN gives −1.
Tensor pack_signs(const Tensor& x);
/// bits → f32 of ±1.
Tensor unpack_signs(const Tensor& bits);
/// The same bits, row-major, under another shape of equal element count: a view where the rows' words stay as
/// they are, else a copy.
Tensor reshape_signs(const Tensor& bits, const Shape& shape);

}  // namespace hardbit::ops
