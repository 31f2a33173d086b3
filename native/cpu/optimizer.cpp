#include "cpu/optimizer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

/// Clipping to ±limit, to ±∞ (nothing) where it is 0.
float clip_limit(double clip) {
  return clip > 0 ? static_cast<float>(clip) : std::numeric_limits<float>::infinity();
}

float clipped(float value, float limit) { return std::min(std::max(value, -limit), limit); }

}  // namespace

void adam_step(float* value, const float* gradient, float* m, float* v, std::int64_t n,
               const ops::AdamParameters& parameters) {
  const auto step = static_cast<double>(parameters.step);
  const auto keep = static_cast<float>(1 - parameters.learning_rate * parameters.weight_decay);
  const auto beta1 = static_cast<float>(parameters.beta1);
  const auto rest1 = static_cast<float>(1 - parameters.beta1);
  const auto beta2 = static_cast<float>(parameters.beta2);
  const auto rest2 = static_cast<float>(1 - parameters.beta2);
  const auto step_size =
      static_cast<float>(parameters.learning_rate / (1 - std::pow(parameters.beta1, step)));
  const auto root = static_cast<float>(std::sqrt(1 - std::pow(parameters.beta2, step)));
  const auto epsilon = static_cast<float>(parameters.epsilon);
  const float limit = clip_limit(parameters.clip);
  parallel_for(n, element_grain / 4, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float g = gradient[i];
      const float mi = beta1 * m[i] + rest1 * g;
      const float vi = beta2 * v[i] + rest2 * g * g;
      m[i] = mi;
      v[i] = vi;
      value[i] = clipped(value[i] * keep - step_size * (mi / (std::sqrt(vi) / root + epsilon)), limit);
    }
  });
}

void sgd_step(float* value, const float* gradient, float* velocity, std::int64_t n,
              const ops::SgdParameters& parameters) {
  const auto rate = static_cast<float>(parameters.learning_rate);
  const auto momentum = static_cast<float>(parameters.momentum);
  const auto decay = static_cast<float>(parameters.weight_decay);
  const float limit = clip_limit(parameters.clip);
  const bool nesterov = parameters.nesterov;
  parallel_for(n, element_grain, [=](std::int64_t begin, std::int64_t end) {
    if (velocity == nullptr) {
      for (std::int64_t i = begin; i < end; ++i) {
        const float g = gradient[i] + decay * value[i];
        value[i] = clipped(value[i] - rate * g, limit);
      }
      return;
    }
    for (std::int64_t i = begin; i < end; ++i) {
      const float g = gradient[i] + decay * value[i];
      const float moved = momentum * velocity[i] + g;
      velocity[i] = moved;
      value[i] = clipped(value[i] - rate * (nesterov ? g + momentum * moved : moved), limit);
    }
  });
}

}  // namespace hardbit::cpu
