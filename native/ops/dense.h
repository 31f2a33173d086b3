#pragma once
#include "runtime/tensor.h"

namespace hardbit::ops {

// All f32: x [N, K], w [M, K], bias [M], dy [N, M].

/// y = x · wᵀ + bias, [N, M]; `bias` may be null.
Tensor dense_forward(const Tensor& x, const Tensor& w, const Tensor* bias);
/// The same in the order of ordered_conv2d_forward: over K from 0 on.
Tensor ordered_dense_forward(const Tensor& x, const Tensor& w, const Tensor* bias);
/// dy · w, [N, K].
Tensor dense_backward_input(const Tensor& dy, const Tensor& w);
/// dyᵀ · x, [M, K].
Tensor dense_backward_weight(const Tensor& dy, const Tensor& x);
/// Sums over rows in double, [N, …, M] → [M] (all dimensions but the last are rows); the same on every thread
/// count.
Tensor sum_rows(const Tensor& dy);

}  // namespace hardbit::ops
