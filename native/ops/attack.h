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
