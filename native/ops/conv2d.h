#pragma once
#include <array>
#include <compare>
#include <cstdint>

#include "runtime/tensor.h"

namespace hardbit::ops {

using Pair = std::array<std::int64_t, 2>;

/// Where a convolution's window goes: stride and dilation of rows and columns, 1 or more; rows and columns of
/// padding above, below, left and right, 0 or more; groups, which divide input and output channels.
struct Conv2dGeometry {
  Pair stride{1, 1};
  Pair dilation{1, 1};
  std::array<std::int64_t, 4> padding{};
  std::int64_t groups = 1;
  auto operator<=>(const Conv2dGeometry&) const = default;
};

/// A convolution with all its sizes, checked: what an implementation may rely on. x [n, h, w, c], weights
/// [m, kh, kw, c / groups], y [n, oh, ow, m].
struct Conv2d {
  Conv2dGeometry geometry;
  std::int64_t n, h, w, c, m, kh, kw, oh, ow;
  std::int64_t group_channels() const { return geometry.groups == 0 ? 0 : c / geometry.groups; }
  /// Taps of one output element.
  std::int64_t k() const { return kh * kw * group_channels(); }
  /// No product is part of any output.
  bool empty() const { return n == 0 || m == 0 || c == 0 || h == 0 || w == 0; }
  auto operator<=>(const Conv2d&) const = default;
};

/// All f32, NHWC: x [N, H, W, C], w [M, KH, KW, C / groups], bias [M], dy [N, OH, OW, M] with
/// OH = ⌊(H + above + below − dilation·(KH − 1) − 1) / stride⌋ + 1, and OW alike. Cross-correlation, as in
/// all networks: y[n, i, j, m] = Σ x[n, i·stride + a·dilation − above, …, c]·w[m, a, b, c]; padding counts as
/// 0. ERR_HARDBIT_SHAPE where the kernel exceeds the padded input or groups do not divide the channels;
/// ERR_HARDBIT_ARGUMENT for a stride, dilation, padding or groups out of range.

/// y + bias; `bias` may be null.
Tensor conv2d_forward(const Tensor& x, const Tensor& w, const Tensor* bias, const Conv2dGeometry& geometry);
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
