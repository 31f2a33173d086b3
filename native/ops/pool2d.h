#pragma once
#include <array>
#include <cstdint>
#include <optional>

#include "ops/geometry.h"
#include "runtime/tensor.h"

namespace hardbit::ops {

// Pooling of NHWC: x [N, H, W, C] → [N, OH, OW, C], OH = ⌊(H + above + below − KH) / SH⌋ + 1, columns alike.
// The places of a window are counted row-major from 0. Where the kernel or stride is below 1, the kernel has
// more than 256 places, or a padding is negative or not below its kernel: ERR_HARDBIT_ARGUMENT; where x has
// no pixels, more than 2^30 a side, or fewer with its padding than the kernel: ERR_HARDBIT_SHAPE. Every
// window then holds a pixel of x.

struct MaxPooled {
  Tensor y;                     // x's dtype, [N, OH, OW, C]
  std::optional<Tensor> index;  // u8, y's shape
};

/// The largest of each window, x f32 | i16 | i32 | bits; a NaN wins, padding takes no part. `index` is the
/// first place that holds it.
MaxPooled max_pool2d(const Tensor& x, const Pool2dGeometry& geometry, bool with_index);

/// The sizes of pooling images [N, H, W, C].
Pooling check_pooling(const char* op, const Pool2dGeometry& geometry, std::int64_t images,
                      std::int64_t height, std::int64_t width, std::int64_t channels);

/// What the gradient of a max-pooling takes from it.
struct MaxPooling {
  Pool2dGeometry geometry;
  Tensor index;
};

/// Adds dy f32 [N, OH, OW, C] to the places that `index` names: f32 [N, H, W, C], `size` = {H, W}. Windows
/// that overlap are added in row-major order. A place outside the kernel: ERR_HARDBIT_ARGUMENT (on a GPU by
/// the next read from it); one in the padding receives nothing.
Tensor max_pool2d_backward(const Tensor& dy, const Tensor& index, const std::array<std::int64_t, 2>& size,
                           const Pool2dGeometry& geometry);

/// The sizes of that, or its errors but for those of the contents of `index`.
Pooling check_max_pooled(const char* op, const Tensor& dy, const MaxPooling& pooling,
                         const std::array<std::int64_t, 2>& size);

/// Throws where `index` names a place outside the kernel; on a GPU, the kernels that read it report it.
void check_places(const char* op, const MaxPooling& pooling);

/// Bits by OR, channels whose bit in `all` bits [C] is 1 by AND: with a threshold x ≥ t behind max-pooling
/// moved before it, any pixel above t suffices; where the sign of the scale turned the comparison round, all
/// must be.
Tensor pool_signs(const Tensor& x, const Pool2dGeometry& geometry, const Tensor& all);

/// fl(sum / (KH·KW)) of each window, x f32; padding counts as zeros. Sums run in row-major order in fp32.
Tensor avg_pool2d(const Tensor& x, const Pool2dGeometry& geometry);

/// Adds fl(dy / (KH·KW)) to every pixel of each window: f32 [N, H, W, C], `size` = {H, W}.
Tensor avg_pool2d_backward(const Tensor& dy, const std::array<std::int64_t, 2>& size,
                           const Pool2dGeometry& geometry);

}  // namespace hardbit::ops
