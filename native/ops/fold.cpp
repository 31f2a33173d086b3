#include "ops/fold.h"

#include <cmath>
#include <string>

#include "ops/batch_norm.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {
namespace {

/// All numbers of a channel's column are finite; names the first that is not.
void check_finite(const char* op, const char* what, const Tensor& t) {
  for (std::int64_t c = 0; c < t.count(); ++c) {
    const float value = t.data<float>()[c];
    if (std::isfinite(value)) continue;
    check::fail("ERR_HARDBIT_ARGUMENT", op,
                std::string(what) + " of channel " + std::to_string(c) + " is " +
                    check::text(static_cast<double>(value)) + "; expected a finite number.");
  }
}

/// One channel's sign as a function of n.
struct Channel {
  float scale, mean, factor, beta;

  float value(std::int64_t n) const {
    return batch_norm_value(static_cast<float>(n) * scale, mean, factor, beta);
  }
  bool sign(std::int64_t n) const { return value(n) >= 0; }

  /// The last integer of [low, high) up to which the sign is that of low; high has the other.
  std::int64_t last_like(std::int64_t low, std::int64_t high) const {
    const bool first = sign(low);
    while (high - low > 1) {
      const std::int64_t middle = low + (high - low) / 2;
      (sign(middle) == first ? low : high) = middle;
    }
    return low;
  }
};

}  // namespace

Tensor batch_norm_factors(const Tensor& gamma, const Tensor& running_variance, double epsilon) {
  constexpr const char* op = "batchNormFactors";
  check::dtype(op, "gamma", gamma, DType::f32);
  check::rank(op, "gamma", gamma, 1, "[C]");
  check::f32(op, "runningVariance", running_variance, gamma.shape());
  require_cpu(op, common_device(gamma, running_variance));
  const float eps = check::not_negative(op, "epsilon", epsilon);
  Tensor factors = Tensor::empty(DType::f32, gamma.shape());
  for (std::int64_t c = 0; c < gamma.count(); ++c) {
    factors.data<float>()[c] =
        batch_norm_factor(gamma.data<float>()[c], running_variance.data<float>()[c], eps);
  }
  check_finite(op, "gamma / sqrt(variance + epsilon)", factors);
  return factors;
}

FoldedSigns fold_signs(std::int64_t magnitude, const Tensor& scales, const Tensor& gamma, const Tensor& beta,
                       const Tensor& running_mean, const Tensor& running_variance, double epsilon) {
  constexpr const char* op = "foldSigns";
  check::integer_between(op, "magnitude", magnitude, 0, 0x7FFFFFFF);
  check::dtype(op, "scales", scales, DType::f32);
  check::rank(op, "scales", scales, 1, "[C]");
  const std::int64_t channels = scales.count();
  check::f32(op, "gamma", gamma, {channels});
  check::f32(op, "beta", beta, {channels});
  check::f32(op, "runningMean", running_mean, {channels});
  require_cpu(op, common_device(scales, gamma, beta, running_mean, running_variance));
  check_finite(op, "the scale", scales);
  check_finite(op, "beta", beta);
  check_finite(op, "the mean", running_mean);
  const Tensor factors = batch_norm_factors(gamma, running_variance, epsilon);

  FoldedSigns folded{Tensor::empty(DType::i32, {channels}), Tensor::empty(DType::i32, {channels})};
  for (std::int64_t c = 0; c < channels; ++c) {
    const Channel channel{scales.data<float>()[c], running_mean.data<float>()[c], factors.data<float>()[c],
                          beta.data<float>()[c]};
    // With finite numbers, a NaN is ∞·0 alone, and only where an end of the range has one too.
    if (std::isnan(channel.value(-magnitude)) || std::isnan(channel.value(magnitude))) {
      check::fail("ERR_HARDBIT_ARGUMENT", op,
                  "batch norm of channel " + std::to_string(c) +
                      " gives no number at the ends of its range; expected a mean and a scale well below "
                      "the largest fp32 number.");
    }
    std::int32_t& direction = folded.direction.data<std::int32_t>()[c];
    std::int32_t& minimum = folded.minimum.data<std::int32_t>()[c];
    const bool lowest = channel.sign(-magnitude);
    if (lowest == channel.sign(magnitude)) {
      direction = 0;
      minimum = lowest ? 0 : 1;
      continue;
    }
    const std::int64_t last = channel.last_like(-magnitude, magnitude);
    direction = lowest ? -1 : 1;
    minimum = static_cast<std::int32_t>(lowest ? -last : last + 1);
  }
  return folded;
}

}  // namespace hardbit::ops
