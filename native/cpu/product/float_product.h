#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/kernels/product.h"
#include "cpu/product/conv_product.h"
#include "ops/geometry.h"

namespace hardbit::cpu {

/// A convolution of f32 images whose every sum is rounded in one order, on one thread: what the
/// full-precision layers of a deployed network and of the training graph's evaluation share.
///
///     y[n, i, j, o] = fl(S + bias[o]), S ← fl(S + fl(x·w)) from 0 on over kernel row, kernel column, channel
///
/// Padding counts as 0. A dense layer is a convolution of 1×1 images, whose batch is the rows. Immutable once
/// made, so that threads may share it; neither tensors nor threads of its own.
class FloatProduct {
 public:
  /// `conv` is checked, its n does not matter, and none of its other sizes is 0. weights [m][k], bias [m] or
  /// null.
  FloatProduct(const ops::Conv2d& conv, const float* weights, const float* bias,
               const FloatKernel& kernel = selected_float());

  const ops::Conv2d& conv() const { return conv_; }
  const FloatKernel& kernel() const { return *kernel_; }
  /// Of packed weights.
  std::size_t bytes() const { return weights_.size(); }
  /// Bytes of memory that a call of run() on `images` images needs to itself; aligned as f32.
  std::size_t scratch_bytes(std::int64_t images) const;
  /// x [images][h][w][c] → y [images][oh][ow][m]. Allocates nothing.
  void run(const float* x, std::int64_t images, float* y, std::byte* scratch) const;

 private:
  std::int64_t padded_values() const { return rows_ * columns_ * conv_.c; }

  ops::Conv2d conv_;
  const FloatKernel* kernel_;
  /// Of a padded image.
  std::int64_t rows_;
  std::int64_t columns_;
  bool pads_;
  /// The taps of a window that lie side by side in an image, and where they begin, in bytes.
  std::int64_t segment_words_;
  std::vector<std::ptrdiff_t> segments_;
  /// Windows are gathered, because the kernel does not take their segments.
  bool gathers_;
  /// Windows at a time.
  std::int64_t block_;
  /// Group after group, `group_bytes_` each.
  PlanMemory weights_;
  std::size_t group_bytes_;
  std::vector<float> bias_;
};

}  // namespace hardbit::cpu
