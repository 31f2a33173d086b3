#include <cmath>
#include <limits>

#include "cuda/optimizer.h"
#include "cuda/vectors.h"

namespace hardbit::cuda {
namespace {

/// Clipping to ±limit, to ±∞ (nothing) where it is 0.
float clip_limit(double clip) {
  return clip > 0 ? static_cast<float>(clip) : std::numeric_limits<float>::infinity();
}

/// As std::min(std::max(value, −limit), limit), whose first operand a NaN stays.
__device__ inline float clipped(float value, float limit) {
  const float above = value < -limit ? -limit : value;
  return limit < above ? limit : above;
}

/// What changes from step to step.
struct AdamFactors {
  float keep, rate, epsilon;
};

}  // namespace

void adam_step(float* value, const float* gradient, float* m, float* v, std::int64_t n,
               const ops::AdamParameters& parameters) {
  // As cpu/optimizer.cpp: both bias corrections are taken out of the loop.
  const auto varies = varying([parameters](const Run& run) {
    const double learning_rate = parameters.learning_rate * run.rate_factor;
    const auto step = static_cast<double>(parameters.step + run.steps);
    const double root = std::sqrt(1 - std::pow(parameters.beta2, step));
    return AdamFactors{
        .keep = static_cast<float>(1 - learning_rate * parameters.weight_decay),
        .rate = static_cast<float>(learning_rate * root / (1 - std::pow(parameters.beta1, step))),
        .epsilon = static_cast<float>(parameters.epsilon * root)};
  });
  const auto beta1 = static_cast<float>(parameters.beta1);
  const auto rest1 = static_cast<float>(1 - parameters.beta1);
  const auto beta2 = static_cast<float>(parameters.beta2);
  const auto rest2 = static_cast<float>(1 - parameters.beta2);
  const float limit = clip_limit(parameters.clip);
  const bool fours = by_four(value) && by_four(gradient) && by_four(m) && by_four(v);
  for_each_vector(n, fours, [=] __device__(auto width, std::int64_t i) {
    constexpr int w = decltype(width)::value;
    const Vector<float, w> gs = vectors_of<w>(gradient)[i];
    Vector<float, w> ms = vectors_of<w>(m)[i];
    Vector<float, w> vs = vectors_of<w>(v)[i];
    Vector<float, w> values = vectors_of<w>(value)[i];
    Vector<float, w> roots;
#pragma unroll
    for (int k = 0; k < w; ++k) {
      const float g = gs.at[k];
      ms.at[k] = beta1 * ms.at[k] + rest1 * g;
      vs.at[k] = beta2 * vs.at[k] + rest2 * g * g;
      roots.at[k] = std::sqrt(vs.at[k]);
    }
    vectors_of<w>(m)[i] = ms;
    vectors_of<w>(v)[i] = vs;
    const AdamFactors now = value_of(varies);  // here, where registers are free
#pragma unroll
    for (int k = 0; k < w; ++k) {
      const float move = now.rate * (ms.at[k] / (roots.at[k] + now.epsilon));
      values.at[k] = clipped(values.at[k] * now.keep - move, limit);
    }
    vectors_of<w>(value)[i] = values;
  });
}

void sgd_step(float* value, const float* gradient, float* velocity, std::int64_t n,
              const ops::SgdParameters& parameters) {
  const auto varies = varying([learning_rate = parameters.learning_rate](const Run& run) {
    return static_cast<float>(learning_rate * run.rate_factor);
  });
  const auto momentum = static_cast<float>(parameters.momentum);
  const auto decay = static_cast<float>(parameters.weight_decay);
  const float limit = clip_limit(parameters.clip);
  const bool nesterov = parameters.nesterov;
  for_each(n, [=] __device__(std::int64_t i) {
    const float rate = value_of(varies);
    const float g = gradient[i] + decay * value[i];
    if (velocity == nullptr) {
      value[i] = clipped(value[i] - rate * g, limit);
      return;
    }
    const float moved = momentum * velocity[i] + g;
    velocity[i] = moved;
    value[i] = clipped(value[i] - rate * (nesterov ? g + momentum * moved : moved), limit);
  });
}

void bop_step(float* weights, const float* gradient, float* m, std::int64_t n,
              const ops::BopParameters& parameters) {
  const auto keep = static_cast<float>(1 - parameters.gamma);
  const auto gamma = static_cast<float>(parameters.gamma);
  const auto threshold = static_cast<float>(parameters.threshold);
  for_each(n, [=] __device__(std::int64_t i) {
    const float w = weights[i];
    const float average = keep * m[i] + gamma * gradient[i];
    m[i] = average;
    weights[i] = w * average > threshold ? -w : w;
  });
}

void average_step(float* average, const float* value, std::int64_t n, double decay) {
  map_elements(n, average, value, average, [=] __device__(float before, float v) {
    return static_cast<float>(decay * static_cast<double>(before) + (1 - decay) * static_cast<double>(v));
  });
}

}  // namespace hardbit::cuda
