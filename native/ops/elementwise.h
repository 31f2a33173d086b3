#pragma once
#include "runtime/tensor.h"

namespace hardbit::ops {

/// u8 → f32, k ↦ fl(k / 255).
Tensor u8_to_float(const Tensor& x);
/// i16 | i32 → f32, n ↦ fl(float(n) · scale).
Tensor int_to_float(const Tensor& x, double scale);
/// y ← fl(y + fl(a·x)), in place.
void axpy(const Tensor& y, double a, const Tensor& x);
/// max(x, 0); a NaN stays.
Tensor relu(const Tensor& x);
/// dy where y > 0, else 0.
Tensor relu_backward(const Tensor& dy, const Tensor& y);
/// fl(a + b), f32 of one shape.
Tensor add(const Tensor& a, const Tensor& b);
/// min(max(x, −1), 1); a NaN stays.
Tensor hardtanh(const Tensor& x);
/// dy where −1 < x < 1, else +0 (also where x is NaN).
Tensor hardtanh_backward(const Tensor& dy, const Tensor& x);

}  // namespace hardbit::ops
