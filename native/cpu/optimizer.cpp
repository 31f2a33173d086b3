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

/// The numbers of one Adam step, rounded once.
struct AdamStep {
  float keep, beta1, rest1, beta2, rest2, rate, epsilon, limit;
};

// A square root and a division an element: worth wider vectors where the CPU has them. Elementwise and
// without contraction, so every clone gives the same bits. (Sanitizers cannot instrument the resolver that
// picks a clone.)
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
__attribute__((target_clones("default", "avx2", "avx512f")))
#endif
void adam_range(float* value, const float* gradient, float* m, float* v, std::int64_t begin, std::int64_t end,
                const AdamStep& step) {
  const AdamStep s = step;
  for (std::int64_t i = begin; i < end; ++i) {
    const float g = gradient[i];
    const float mi = s.beta1 * m[i] + s.rest1 * g;
    const float vi = s.beta2 * v[i] + s.rest2 * g * g;
    m[i] = mi;
    v[i] = vi;
    value[i] = clipped(value[i] * s.keep - s.rate * (mi / (std::sqrt(vi) + s.epsilon)), s.limit);
  }
}

}  // namespace

void adam_step(float* value, const float* gradient, float* m, float* v, std::int64_t n,
               const ops::AdamParameters& parameters) {
  const auto step = static_cast<double>(parameters.step);
  // rate·m̂/(√v̂ + ε) with m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ): both corrections are taken out of the loop.
  const double root = std::sqrt(1 - std::pow(parameters.beta2, step));
  const AdamStep s{
      .keep = static_cast<float>(1 - parameters.learning_rate * parameters.weight_decay),
      .beta1 = static_cast<float>(parameters.beta1),
      .rest1 = static_cast<float>(1 - parameters.beta1),
      .beta2 = static_cast<float>(parameters.beta2),
      .rest2 = static_cast<float>(1 - parameters.beta2),
      .rate = static_cast<float>(parameters.learning_rate * root / (1 - std::pow(parameters.beta1, step))),
      .epsilon = static_cast<float>(parameters.epsilon * root),
      .limit = clip_limit(parameters.clip),
  };
  parallel_for(n, element_grain / 4, [&](std::int64_t begin, std::int64_t end) {
    adam_range(value, gradient, m, v, begin, end, s);
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

void bop_step(float* weights, const float* gradient, float* m, std::int64_t n,
              const ops::BopParameters& parameters) {
  const auto keep = static_cast<float>(1 - parameters.gamma);
  const auto gamma = static_cast<float>(parameters.gamma);
  const auto threshold = static_cast<float>(parameters.threshold);
  parallel_for(n, element_grain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float w = weights[i];
      const float average = keep * m[i] + gamma * gradient[i];
      m[i] = average;
      weights[i] = w * average > threshold ? -w : w;
    }
  });
}

void average_step(float* average, const float* value, std::int64_t n, double decay) {
  parallel_for(n, element_grain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      average[i] = static_cast<float>(decay * static_cast<double>(average[i]) +
                                      (1 - decay) * static_cast<double>(value[i]));
    }
  });
}

}  // namespace hardbit::cpu
