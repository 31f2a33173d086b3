#pragma once
#include <cstdint>

#include "runtime/tensor.h"

namespace hardbit::ops {

// All tensors f32 of one shape; pixels in [0, 1]; the first dimension counts examples. The ball is
// ops/ball.h's. Row i of a start draws from the Philox stream (seed, stream, first_row + i), so splitting a
// batch changes nothing.

/// clamp(fl(x + step_size·sign(gradient))) into the ball of `origin`; the sign of 0 and of NaN is 0.
Tensor attack_step(const Tensor& x, const Tensor& gradient, const Tensor& origin, double step_size,
                   double epsilon);
/// clamp(origin + U[−radius, radius)).
Tensor attack_uniform_start(const Tensor& origin, double radius, double epsilon, std::uint64_t seed,
                            std::uint64_t stream, std::uint64_t first_row);
/// clamp(origin ± alpha), a fair coin per pixel.
Tensor attack_sign_start(const Tensor& origin, double alpha, double epsilon, std::uint64_t seed,
                         std::uint64_t stream, std::uint64_t first_row);
/// x + step_size·g/‖g‖₂ a row, then onto the L2 ball of radius epsilon around `origin`, then into [0, 1]. A
/// row whose gradient is zero, or has no finite norm, does not move, but is projected all the same. Norms and
/// points in double in an order that the row's length alone fixes, rounded once: to the nearest fp32 numbers,
/// or where these lie farther from origin than epsilon, towards the origin. So the distance of a row of
/// pixels in [0, 1] never exceeds epsilon by more than the rounding of double. epsilon is 0 or more.
Tensor attack_step_l2(const Tensor& x, const Tensor& gradient, const Tensor& origin, double step_size,
                      double epsilon);
/// Uniform in the L2 ball of radius epsilon, then into [0, 1], rounded towards the origin: a Gaussian
/// direction and the radius epsilon·u^(1/d) for rows of d elements. Block 0 of a row's stream gives u, block
/// 1 + c/4 column c.
Tensor attack_uniform_start_l2(const Tensor& origin, double epsilon, std::uint64_t seed, std::uint64_t stream,
                               std::uint64_t first_row);
/// fl(‖a − b‖₂) of each row, f32 [N], in double in an order that the row's length alone fixes.
Tensor row_distances(const Tensor& a, const Tensor& b);
/// Pixels whose b-bit code can change inside the ball.
std::int64_t count_flippable(const Tensor& x, double epsilon, int bits);

struct Perturbation {
  double sum = 0;            // Σ|a − b|
  double max = 0;            // max |a − b|; NaN where a or b has one
  std::int64_t outside = 0;  // elements of a outside the ball of b (a NaN is outside)
};

/// Differences of a and b in double; the same on every thread count.
Perturbation perturbation(const Tensor& a, const Tensor& b, double epsilon);
/// Elements that are NaN or outside [0, 1].
std::int64_t count_invalid_pixels(const Tensor& x);

}  // namespace hardbit::ops
