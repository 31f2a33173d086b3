#include <cmath>
#include <type_traits>

#include "cuda/batch_norm.h"
#include "cuda/column_sums.h"
#include "cuda/pack_bits.h"

// Everything stays on the device: statistics, factors, and the sums of the backward pass go from kernel to
// kernel. Each array is read once a pass.

namespace hardbit::cuda {
namespace {

__extension__ using Int128 = __int128;

template <class T>
__device__ inline float scaled(T x, float scale) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    return static_cast<float>(x) * scale;
  }
}

/// What normalizes each channel: y = batch_norm_value(z, mean, factor, beta).
struct Normalization {
  const float* mean;
  const float* factor;
  const float* beta;
  template <class T>
  __device__ float value(T x, float scale, std::int64_t c) const {
    return ops::batch_norm_value(scaled(x, scale), mean[c], factor[c], beta[c]);
  }
};

/// Where a channel's statistics go.
struct Statistics {
  const float* gamma;
  float* running_mean;
  float* running_variance;
  float* batch_mean;
  float* inverse_deviation;
  float* factor;
  double momentum, epsilon, unbiased;

  __device__ void store(std::int64_t c, double mean, double variance) const {
    const auto inverse = static_cast<float>(1 / std::sqrt(variance + epsilon));
    batch_mean[c] = static_cast<float>(mean);
    inverse_deviation[c] = inverse;
    factor[c] = gamma[c] * inverse;
    const auto update = [this](float running, double batch) {
      return static_cast<float>((1 - momentum) * static_cast<double>(running) + momentum * batch);
    };
    running_mean[c] = update(running_mean[c], mean);
    running_variance[c] = update(running_variance[c], variance * unbiased);
  }
};

void statistics(const float* x, float, std::int64_t rows, std::int64_t channels, Statistics to) {
  const auto n = static_cast<double>(rows);
  column_sums<double, 2>(
      rows, channels,
      // Sums of x − x[0] lose nothing where the mean is large against the deviation.
      [=] __device__(std::int64_t row, std::int64_t c, double* sums) {
        const double d = static_cast<double>(x[row * channels + c]) - static_cast<double>(x[c]);
        sums[0] += d;
        sums[1] += d * d;
      },
      [=] __device__(std::int64_t c, const double* sums) {
        const double shift = sums[0] / n;
        const double v = sums[1] / n - shift * shift;
        to.store(c, static_cast<double>(x[c]) + shift, v < 0 ? 0 : v);  // keeps a NaN
      });
}

/// Exact sums. A square of 32 bits is below 2^63; its upper and lower 32 bits are summed apart, so that 2^32
/// rows cannot overflow.
template <class T>
void statistics(const T* x, float scale, std::int64_t rows, std::int64_t channels, Statistics to) {
  constexpr int sum_count = sizeof(T) == 2 ? 2 : 3;
  const auto n = static_cast<double>(rows);
  column_sums<std::int64_t, sum_count>(
      rows, channels,
      [=] __device__(std::int64_t row, std::int64_t c, std::int64_t * sums) {
        const std::int32_t v = x[row * channels + c];
        sums[0] += v;
        if constexpr (sizeof(T) == 2) {
          sums[1] += v * v;
        } else {
          const auto square = static_cast<std::uint64_t>(std::int64_t{v} * v);
          sums[1] += static_cast<std::int64_t>(square & 0xFFFFFFFFU);
          sums[2] += static_cast<std::int64_t>(square >> 32);
        }
      },
      [=] __device__(std::int64_t c, const std::int64_t* sums) {
        Int128 squares = sums[1];
        if constexpr (sizeof(T) == 4) squares += static_cast<Int128>(sums[2]) << 32;
        const Int128 sum = sums[0];
        // n²·variance, exact before the rounding
        const auto spread = static_cast<double>(squares * rows - sum * sum);
        to.store(c, static_cast<double>(sums[0]) / n * static_cast<double>(scale),
                 spread / n / n * static_cast<double>(scale) * static_cast<double>(scale));
      });
}

/// Calls f(pointer to x's elements) with their type.
template <class F>
void with_elements(const Tensor& x, const F& f) {
  switch (x.dtype()) {
    case DType::i16:
      return f(x.data<const std::int16_t>());
    case DType::i32:
      return f(x.data<const std::int32_t>());
    default:
      return f(x.data<const float>());
  }
}

/// Writes the batch's statistics, updates the running ones, and writes every channel's factor.
void batch_statistics(const Tensor& x, float scale, const Tensor& gamma, const Tensor& running_mean,
                      const Tensor& running_variance, double momentum, double epsilon, const Tensor& mean,
                      const Tensor& inverse_deviation, float* factor) {
  const std::int64_t rows = x.rows();
  const Statistics to{.gamma = gamma.data<float>(),
                      .running_mean = running_mean.data<float>(),
                      .running_variance = running_variance.data<float>(),
                      .batch_mean = mean.data<float>(),
                      .inverse_deviation = inverse_deviation.data<float>(),
                      .factor = factor,
                      .momentum = momentum,
                      .epsilon = epsilon,
                      .unbiased = static_cast<double>(rows) / static_cast<double>(rows - 1)};
  with_elements(x, [&](const auto* p) { statistics(p, scale, rows, x.columns(), to); });
}

/// batch_norm_factor for every channel.
void fill_factors(const float* gamma, const float* variance, float epsilon, float* factor,
                  std::int64_t channels) {
  for_each(channels,
           [=] __device__(std::int64_t c) { factor[c] = gamma[c] / std::sqrt(variance[c] + epsilon); });
}

template <class T>
void apply(const T* x, float scale, Normalization norm, float* y, std::int64_t rows, std::int64_t channels) {
  for_each(rows * channels,
           [=] __device__(std::int64_t i) { y[i] = norm.value(x[i], scale, place_of(i, channels).column); });
}

template <class T>
void apply_signs(const T* x, float scale, Normalization norm, std::uint64_t* signs, std::uint64_t* mask,
                 std::int64_t rows, std::int64_t channels) {
  if (mask == nullptr) {
    pack_bits<1>(
        rows, channels,
        [=] __device__(std::int64_t row, std::int64_t c) {
          return norm.value(x[row * channels + c], scale, c) >= 0.0F ? 1U : 0U;
        },
        signs);
    return;
  }
  pack_bits<2>(
      rows, channels,
      [=] __device__(std::int64_t row, std::int64_t c) {
        const float y = norm.value(x[row * channels + c], scale, c);
        return (y >= 0.0F ? 1U : 0U) | (std::fabs(y) <= 1.0F ? 2U : 0U);
      },
      signs, mask);
}

void apply_signs(const Tensor& x, float scale, const Normalization& norm, const ops::BatchNormSigns& y) {
  auto* const mask = y.mask ? y.mask->data<std::uint64_t>() : nullptr;
  with_elements(x, [&](const auto* p) {
    apply_signs(p, scale, norm, y.signs.data<std::uint64_t>(), mask, x.rows(), x.columns());
  });
}

/// The gradient of y where y is not needed: dy, or what a mask lets through of it.
struct MaskedGradient {
  const float* dy;
  std::int64_t channels;
  std::int64_t row_words;
  const std::uint64_t* mask;

  __device__ float operator()(std::int64_t row, std::int64_t c) const {
    const float g = dy[row * channels + c];
    return mask == nullptr || bit_at(mask, row_words, row, c) ? g : 0.0F;
  }
};

/// What the surrogates of y, which is computed again, make of dy.
template <class T>
struct SurrogateGradient {
  const float* dy;
  const T* x;
  float scale;
  Normalization norm;
  std::int64_t channels;
  bool approx;

  __device__ float operator()(std::int64_t row, std::int64_t c) const {
    const std::int64_t i = row * channels + c;
    const float g = dy[i];
    const float y = norm.value(x[i], scale, c);
    if (approx) {
      const float a = std::fabs(y);
      return a <= 1.0F ? g * (2.0F - 2.0F * a) : 0.0F;
    }
    // As cpu/quantize.cpp's swish_slope.
    const double a = std::fabs(ops::swish_sign_beta * static_cast<double>(y));
    if (a > 800) return static_cast<float>(static_cast<double>(g) * 0.0);
    const double e = std::exp(-a);
    const double sum = 1 + e;
    const double slope = ops::swish_sign_beta * (2 - a * (1 - e) / sum) * 2 * e / (sum * sum);
    return static_cast<float>(static_cast<double>(g) * slope);
  }
};

/// Calls f(gradient) with the gradient of y that the surrogate makes of dy: a device function of row and
/// channel. The few registers of those that need no y are not held up by the others.
template <class T, class F>
void with_gradient(const float* dy, const T* x, float scale, const Normalization& norm, std::int64_t channels,
                   ops::SignSurrogate surrogate, const Tensor* mask, const F& f) {
  const bool approx = surrogate == ops::SignSurrogate::approx;
  if (approx || surrogate == ops::SignSurrogate::swish) {
    return f(SurrogateGradient<T>{dy, x, scale, norm, channels, approx});
  }
  f(MaskedGradient{dy, channels, words(channels),
                   mask == nullptr ? nullptr : mask->data<const std::uint64_t>()});
}

/// Two passes: sums of the gradient, then dx = factor·(g − offset − (z − mean)·slope).
template <class T, class G>
void backward(G gradient, const T* x, float scale, const float* gamma, const float* mean,
              const float* inverse_deviation, float* dx, float* dgamma, float* dbeta, std::int64_t rows,
              std::int64_t channels) {
  const Scratch<float> shared(3 * channels);
  float* const factor = shared.data();
  float* const offset = factor + channels;
  float* const slope = offset + channels;
  const auto n = static_cast<double>(rows);
  column_sums<double, 2>(
      rows, channels,
      [=] __device__(std::int64_t row, std::int64_t c, double* sums) {
        const auto d = static_cast<double>(gradient(row, c));
        sums[0] += d;
        sums[1] += d * static_cast<double>(scaled(x[row * channels + c], scale) - mean[c]);
      },
      [=] __device__(std::int64_t c, const double* sums) {
        const auto inverse = static_cast<double>(inverse_deviation[c]);
        dbeta[c] = static_cast<float>(sums[0]);
        dgamma[c] = static_cast<float>(sums[1] * inverse);
        factor[c] = gamma[c] * inverse_deviation[c];
        offset[c] = static_cast<float>(sums[0] / n);
        slope[c] = static_cast<float>(sums[1] / n * inverse * inverse);
      });
  for_each_element(rows, channels, [=] __device__(std::int64_t row, std::int64_t c, std::int64_t i) {
    dx[i] = factor[c] * (gradient(row, c) - offset[c] - (scaled(x[i], scale) - mean[c]) * slope[c]);
  });
}

template <class G>
void eval_backward(G gradient, const float* factor, float* dx, std::int64_t rows, std::int64_t channels) {
  for_each_element(rows, channels, [=] __device__(std::int64_t row, std::int64_t c, std::int64_t i) {
    dx[i] = gradient(row, c) * factor[c];
  });
}

/// factor = gamma·inverse_deviation, as in training.
void fill_training_factors(const float* gamma, const float* inverse_deviation, float* factor,
                           std::int64_t channels) {
  for_each(channels, [=] __device__(std::int64_t c) { factor[c] = gamma[c] * inverse_deviation[c]; });
}

}  // namespace

void batch_norm_train(const Tensor& x, float scale, const Tensor& gamma, const Tensor& beta,
                      const Tensor& running_mean, const Tensor& running_variance, double momentum,
                      double epsilon, const ops::BatchNormTrained& out) {
  const Scratch<float> factor(x.columns());
  batch_statistics(x, scale, gamma, running_mean, running_variance, momentum, epsilon, out.mean,
                   out.inverse_deviation, factor.data());
  const Normalization norm{out.mean.data<float>(), factor.data(), beta.data<float>()};
  with_elements(x, [&](const auto* p) { apply(p, scale, norm, out.y.data<float>(), x.rows(), x.columns()); });
}

void batch_norm_backward(const Tensor& dy, const Tensor& x, float scale, const Tensor& gamma,
                         const Tensor& mean, const Tensor& inverse_deviation,
                         const ops::BatchNormGradients& out) {
  with_elements(x, [&](const auto* p) {
    backward(MaskedGradient{dy.data<float>(), x.columns(), words(x.columns()), nullptr}, p, scale,
             gamma.data<float>(), mean.data<float>(), inverse_deviation.data<float>(), out.dx.data<float>(),
             out.dgamma.data<float>(), out.dbeta.data<float>(), x.rows(), x.columns());
  });
}

void batch_norm_eval(const Tensor& x, float scale, const Tensor& gamma, const Tensor& beta,
                     const Tensor& running_mean, const Tensor& running_variance, float epsilon,
                     const Tensor& y) {
  const Scratch<float> factor(x.columns());
  fill_factors(gamma.data<float>(), running_variance.data<float>(), epsilon, factor.data(), x.columns());
  const Normalization norm{running_mean.data<float>(), factor.data(), beta.data<float>()};
  with_elements(x, [&](const auto* p) { apply(p, scale, norm, y.data<float>(), x.rows(), x.columns()); });
}

void batch_norm_eval_backward(const Tensor& dy, const Tensor& gamma, const Tensor& running_variance,
                              float epsilon, const Tensor& dx) {
  const Scratch<float> factor(dy.columns());
  fill_factors(gamma.data<float>(), running_variance.data<float>(), epsilon, factor.data(), dy.columns());
  eval_backward(MaskedGradient{dy.data<float>(), dy.columns(), words(dy.columns()), nullptr}, factor.data(),
                dx.data<float>(), dy.rows(), dy.columns());
}

void batch_norm_sign_train(const Tensor& x, float scale, const Tensor& gamma, const Tensor& beta,
                           const Tensor& running_mean, const Tensor& running_variance, double momentum,
                           double epsilon, const ops::BatchNormSignTrained& out) {
  const Scratch<float> factor(x.columns());
  batch_statistics(x, scale, gamma, running_mean, running_variance, momentum, epsilon, out.mean,
                   out.inverse_deviation, factor.data());
  apply_signs(x, scale, {out.mean.data<float>(), factor.data(), beta.data<float>()}, out.y);
}

void batch_norm_sign_backward(const Tensor& dy, const Tensor& x, float scale, const Tensor& gamma,
                              const Tensor& beta, const Tensor& mean, const Tensor& inverse_deviation,
                              ops::SignSurrogate surrogate, const Tensor* mask,
                              const ops::BatchNormGradients& out) {
  const std::int64_t channels = x.columns();
  const Scratch<float> factor(channels);
  fill_training_factors(gamma.data<float>(), inverse_deviation.data<float>(), factor.data(), channels);
  const Normalization norm{mean.data<float>(), factor.data(), beta.data<float>()};
  with_elements(x, [&](const auto* p) {
    with_gradient(dy.data<float>(), p, scale, norm, channels, surrogate, mask, [&](const auto& gradient) {
      backward(gradient, p, scale, gamma.data<float>(), mean.data<float>(), inverse_deviation.data<float>(),
               out.dx.data<float>(), out.dgamma.data<float>(), out.dbeta.data<float>(), x.rows(), channels);
    });
  });
}

void batch_norm_sign_eval(const Tensor& x, float scale, const Tensor& gamma, const Tensor& beta,
                          const Tensor& running_mean, const Tensor& running_variance, float epsilon,
                          const ops::BatchNormSigns& y) {
  const Scratch<float> factor(x.columns());
  fill_factors(gamma.data<float>(), running_variance.data<float>(), epsilon, factor.data(), x.columns());
  apply_signs(x, scale, {running_mean.data<float>(), factor.data(), beta.data<float>()}, y);
}

void batch_norm_sign_eval_backward(const Tensor& dy, const Tensor* x, float scale, const Tensor& gamma,
                                   const Tensor& beta, const Tensor& running_mean,
                                   const Tensor& running_variance, float epsilon,
                                   ops::SignSurrogate surrogate, const Tensor* mask, const Tensor& dx) {
  const std::int64_t channels = dy.columns();
  const Scratch<float> factor(channels);
  fill_factors(gamma.data<float>(), running_variance.data<float>(), epsilon, factor.data(), channels);
  const Normalization norm{running_mean.data<float>(), factor.data(), beta.data<float>()};
  // Where no x is needed, dy stands in for it and is not read as such.
  with_elements(x == nullptr ? dy : *x, [&](const auto* p) {
    with_gradient(dy.data<float>(), p, scale, norm, channels, surrogate, mask, [&](const auto& gradient) {
      eval_backward(gradient, factor.data(), dx.data<float>(), dy.rows(), channels);
    });
  });
}

}  // namespace hardbit::cuda
