#pragma once
#include <algorithm>

namespace hardbit {

// The L∞ ball around a pixel x, cut to [0, 1], in fp32. Attack projection, flippable pixels, certificate
// boxes and the check of finished attacks all use these two.

constexpr float ball_low(float x, float epsilon) { return std::max(0.0F, x - epsilon); }
constexpr float ball_high(float x, float epsilon) { return std::min(1.0F, x + epsilon); }
/// The point of the ball nearest to `value`.
constexpr float ball_clamp(float value, float x, float epsilon) {
  return std::min(std::max(value, ball_low(x, epsilon)), ball_high(x, epsilon));
}

}  // namespace hardbit
