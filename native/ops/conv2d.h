#pragma once
#include <cstdint>

#include "ops/geometry.h"
#include "runtime/tensor.h"

namespace hardbit::ops {

/// All f32, NHWC: x [N, H, W, C], w [M, KH, KW, C / groups], bias [M], dy [N, OH, OW, M] with
/// OH = ⌊(H + above + below − dilation·(KH − 1) − 1) / stride⌋ + 1, and OW alike. Cross-correlation, as in
/// all networks: y[n, i, j, m] = Σ x[n, i·stride + a·dilation − above, …, c]·w[m, a, b, c]; padding counts as
/// 0. ERR_HARDBIT_SHAPE where the kernel exceeds the padded input or groups do not divide the channels;
/// ERR_HARDBIT_ARGUMENT for a stride, dilation, padding or groups out of range.

/// y + bias; `bias` may be null.
Tensor conv2d_forward(const Tensor& x, const Tensor& w, const Tensor* bias, const Conv2dGeometry& geometry);
/// The same, each sum in one fixed order on every CPU and thread count, which the deployed network shares:
/// over rows and columns of the kernel, then channels, from 0 on, every product and every sum rounded; the
/// bias last.
Tensor ordered_conv2d_forward(const Tensor& x, const Tensor& w, const Tensor* bias,
                              const Conv2dGeometry& geometry);
/// dL/dx [N, H, W, C] for `size` = (H, W).
Tensor conv2d_backward_input(const Tensor& dy, const Tensor& w, const Pair& size,
                             const Conv2dGeometry& geometry);
/// dL/dw [M, KH, KW, C / groups] for `kernel` = (KH, KW).
Tensor conv2d_backward_weight(const Tensor& dy, const Tensor& x, const Pair& kernel,
                              const Conv2dGeometry& geometry);

/// The sizes of x [n, h, w, c] convolved with `m` kernels of kh by kw; throws as above.
Conv2d check_conv2d(const char* op, const Shape& x, std::int64_t m, const Pair& kernel,
                    const Conv2dGeometry& geometry);

}  // namespace hardbit::ops
