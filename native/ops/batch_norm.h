#pragma once
#include <cmath>
#include <cstdint>
#include <optional>

#include "runtime/tensor.h"

namespace hardbit::ops {

// Batch normalization over rows: x f32 | i16 | i32 [N, …, C], channels last, whose rows are all its
// dimensions but the last (N·H·W of images); z = fl(float(x)·scale), where scale is 1 for f32; gamma, beta,
// means and variances f32 [C]. Statistics do not depend on the thread count; those of integers come from
// exact sums.

/// The per-channel factor of evaluation, fl(gamma / fl(sqrt(fl(variance + epsilon)))).
inline float batch_norm_factor(float gamma, float variance, float epsilon) {
  return gamma / std::sqrt(variance + epsilon);
}

/// The one fp32 function of normalization: fl(fl(fl(z − mean)·factor) + beta). Folded thresholds bisect it.
constexpr float batch_norm_value(float z, float mean, float factor, float beta) {
  return (z - mean) * factor + beta;
}

struct BatchNormTrained {
  Tensor y;                  // f32, x's shape
  Tensor mean;               // f32 [C], of z
  Tensor inverse_deviation;  // f32 [C], 1 / sqrt(biased variance + epsilon)
};

/// Normalizes with the batch's statistics and updates running ← (1 − momentum)·running + momentum·batch in
/// place (unbiased variance, as PyTorch). Fewer than 2 rows: ERR_HARDBIT_ARGUMENT.
BatchNormTrained batch_norm_train(const Tensor& x, double scale, const Tensor& gamma, const Tensor& beta,
                                  const Tensor& running_mean, const Tensor& running_variance, double momentum,
                                  double epsilon);

struct BatchNormGradients {
  Tensor dx;      // f32, x's shape, with respect to z
  Tensor dgamma;  // f32 [C]
  Tensor dbeta;   // f32 [C]
};

/// Gradients of batch_norm_train: with h = (z − mean)·inverse_deviation, dbeta = Σ dy, dgamma = Σ dy·h,
/// dx = gamma·inverse_deviation·(dy − dbeta/R − h·dgamma/R) for R rows.
BatchNormGradients batch_norm_backward(const Tensor& dy, const Tensor& x, double scale, const Tensor& gamma,
                                       const Tensor& mean, const Tensor& inverse_deviation);

/// batch_norm_value with the running statistics.
Tensor batch_norm_eval(const Tensor& x, double scale, const Tensor& gamma, const Tensor& beta,
                       const Tensor& running_mean, const Tensor& running_variance, double epsilon);

/// dy · batch_norm_factor.
Tensor batch_norm_eval_backward(const Tensor& dy, const Tensor& gamma, const Tensor& running_variance,
                                double epsilon);

// Batch normalization followed by sign, in one pass: y itself, four bytes an element, is never kept. Equal to
// the last bit to batch_norm_… followed by sign_forward or pack_signs, and backward to the surrogate's
// operator followed by batch_norm_…_backward.

/// How the sign of y is differentiated: `clipped` mask_backward, `identity` dy itself, `approx`
/// approx_sign_backward, `swish` swish_sign_backward with swish_sign_beta. The last two compute y again.
enum class SignSurrogate : std::uint8_t { clipped, identity, approx, swish };

/// β of the swish surrogate (Darabi et al., arXiv 1812.11800).
inline constexpr double swish_sign_beta = 5;

struct BatchNormSigns {
  Tensor signs;                // bits, x's shape
  std::optional<Tensor> mask;  // bits, 1 where |y| ≤ 1; only where asked for
};

struct BatchNormSignTrained {
  BatchNormSigns y;
  Tensor mean;               // as in BatchNormTrained
  Tensor inverse_deviation;  // as in BatchNormTrained
};

BatchNormSignTrained batch_norm_sign_train(const Tensor& x, double scale, const Tensor& gamma,
                                           const Tensor& beta, const Tensor& running_mean,
                                           const Tensor& running_variance, double momentum, double epsilon,
                                           bool with_mask);

/// mask: bits of x's shape for `clipped`, null for the others. beta is read by `approx` and `swish` alone.
BatchNormGradients batch_norm_sign_backward(const Tensor& dy, const Tensor& x, double scale,
                                            const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                                            const Tensor& inverse_deviation, SignSurrogate surrogate,
                                            const Tensor* mask);

BatchNormSigns batch_norm_sign_eval(const Tensor& x, double scale, const Tensor& gamma, const Tensor& beta,
                                    const Tensor& running_mean, const Tensor& running_variance,
                                    double epsilon, bool with_mask);

/// x: needed by `approx` and `swish`, null for the others.
Tensor batch_norm_sign_eval_backward(const Tensor& dy, const Tensor* x, double scale, const Tensor& gamma,
                                     const Tensor& beta, const Tensor& running_mean,
                                     const Tensor& running_variance, double epsilon, SignSurrogate surrogate,
                                     const Tensor* mask);

}  // namespace hardbit::ops
