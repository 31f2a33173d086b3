#include "cpu/batch_norm.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "cpu/column_sums.h"
#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

__extension__ using Int128 = __int128;

template <class T>
float scaled(T x, float scale) {
  if constexpr (std::is_same_v<T, float>) return x;
  return static_cast<float>(x) * scale;
}

/// Calls f(row) for all rows; a thread gets at least element_grain elements.
template <class F>
void each_row(std::int64_t rows, std::int64_t channels, const F& f) {
  parallel_for(rows, element_grain / std::max<std::int64_t>(channels, 1),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) f(row);
               });
}

void float_statistics(const float* x, std::int64_t rows, std::int64_t channels, double* mean,
                      double* variance) {
  // Sums of x − x[0] lose nothing where the mean is large against the deviation.
  const auto sums = column_sums<double, 2>(
      rows, channels,
      [=](std::int64_t row, std::int64_t channel, std::int64_t width, TileSums<double, 2>& tile) {
        const float* const p = x + row * channels + channel;
        const float* const origin = x + channel;
        double* const s = tile[0].data();
        double* const q = tile[1].data();
        for (std::int64_t c = 0; c < width; ++c) {
          const double d = static_cast<double>(p[c]) - static_cast<double>(origin[c]);
          s[c] += d;
          q[c] += d * d;
        }
      });
  const auto n = static_cast<double>(rows);
  for (std::int64_t c = 0; c < channels; ++c) {
    const auto i = static_cast<std::size_t>(c);
    const double shift = sums[0][i] / n;
    mean[c] = static_cast<double>(x[c]) + shift;
    const double v = sums[1][i] / n - shift * shift;
    variance[c] = v < 0 ? 0 : v;  // keeps a NaN
  }
}

/// A square is below 2^63; its upper and lower 32 bits are summed apart, so that 2^32 rows cannot overflow.
template <class T>
void integer_statistics(const T* x, float scale, std::int64_t rows, std::int64_t channels, double* mean,
                        double* variance) {
  constexpr std::size_t sum_count = sizeof(T) == 2 ? 2 : 3;
  const auto sums =
      column_sums<std::int64_t, sum_count>(rows, channels,
                                           [=](std::int64_t row, std::int64_t channel, std::int64_t width,
                                               TileSums<std::int64_t, sum_count>& tile) {
                                             const T* const p = x + row * channels + channel;
                                             std::int64_t* const s = tile[0].data();
                                             std::int64_t* const low = tile[1].data();
                                             if constexpr (sum_count == 2) {
                                               for (std::int64_t c = 0; c < width; ++c) {
                                                 s[c] += p[c];
                                                 low[c] += std::int32_t{p[c]} * p[c];
                                               }
                                             } else {
                                               std::int64_t* const high = tile[2].data();
                                               for (std::int64_t c = 0; c < width; ++c) {
                                                 const auto bits = static_cast<std::uint32_t>(p[c]);
                                                 const std::uint64_t magnitude = p[c] < 0 ? 0U - bits : bits;
                                                 const std::uint64_t square = magnitude * magnitude;
                                                 s[c] += p[c];
                                                 low[c] += static_cast<std::int64_t>(square & 0xFFFFFFFFU);
                                                 high[c] += static_cast<std::int64_t>(square >> 32);
                                               }
                                             }
                                           });
  const auto n = static_cast<double>(rows);
  for (std::int64_t c = 0; c < channels; ++c) {
    const auto i = static_cast<std::size_t>(c);
    Int128 squares = sums[1][i];
    if constexpr (sum_count == 3) squares += static_cast<Int128>(sums[2][i]) << 32;
    const Int128 sum = sums[0][i];
    const auto spread =
        static_cast<double>(squares * rows - sum * sum);  // n²·variance, exact before the rounding
    mean[c] = static_cast<double>(sums[0][i]) / n * static_cast<double>(scale);
    variance[c] = spread / n / n * static_cast<double>(scale) * static_cast<double>(scale);
  }
}

/// Mean and biased variance of z per channel: of exact integer sums for integers, in double for floats.
template <class T>
void statistics(const T* x, float scale, std::int64_t rows, std::int64_t channels, double* mean,
                double* variance) {
  if constexpr (std::is_same_v<T, float>) {
    float_statistics(x, rows, channels, mean, variance);
  } else {
    integer_statistics(x, scale, rows, channels, mean, variance);
  }
}

template <class T>
void apply(const T* x, float scale, const float* mean, const float* factor, const float* beta, float* y,
           std::int64_t rows, std::int64_t channels) {
  each_row(rows, channels, [=](std::int64_t row) {
    const T* const p = x + row * channels;
    float* const out = y + row * channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      out[c] = ops::batch_norm_value(scaled(p[c], scale), mean[c], factor[c], beta[c]);
    }
  });
}

template <class T>
void backward(const float* dy, const T* x, float scale, const float* gamma, const float* mean,
              const float* inverse_deviation, float* dx, float* dgamma, float* dbeta, std::int64_t rows,
              std::int64_t channels) {
  const auto sums = column_sums<double, 2>(
      rows, channels,
      [=](std::int64_t row, std::int64_t channel, std::int64_t width, TileSums<double, 2>& tile) {
        const T* const p = x + row * channels + channel;
        const float* const g = dy + row * channels + channel;
        const float* const m = mean + channel;
        double* const s = tile[0].data();
        double* const t = tile[1].data();
        for (std::int64_t c = 0; c < width; ++c) {
          const auto d = static_cast<double>(g[c]);
          s[c] += d;
          t[c] += d * static_cast<double>(scaled(p[c], scale) - m[c]);
        }
      });
  // dx = factor·(dy − mean(dy) − (z − mean)·slope)
  const auto n = static_cast<double>(rows);
  std::vector<float> factor(static_cast<std::size_t>(channels));
  std::vector<float> offset(factor.size());
  std::vector<float> slope(factor.size());
  for (std::int64_t c = 0; c < channels; ++c) {
    const auto i = static_cast<std::size_t>(c);
    const auto inverse = static_cast<double>(inverse_deviation[c]);
    dbeta[c] = static_cast<float>(sums[0][i]);
    dgamma[c] = static_cast<float>(sums[1][i] * inverse);
    factor[i] = gamma[c] * inverse_deviation[c];
    offset[i] = static_cast<float>(sums[0][i] / n);
    slope[i] = static_cast<float>(sums[1][i] / n * inverse * inverse);
  }
  const float* const f = factor.data();
  const float* const o = offset.data();
  const float* const k = slope.data();
  each_row(rows, channels, [=](std::int64_t row) {
    const T* const p = x + row * channels;
    const float* const g = dy + row * channels;
    float* const out = dx + row * channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      out[c] = f[c] * (g[c] - o[c] - (scaled(p[c], scale) - mean[c]) * k[c]);
    }
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

/// batch_norm_factor for every channel.
std::vector<float> factors(const Tensor& gamma, const Tensor& variance, float epsilon) {
  std::vector<float> factor(static_cast<std::size_t>(gamma.count()));
  for (std::size_t c = 0; c < factor.size(); ++c) {
    factor[c] = ops::batch_norm_factor(gamma.data<float>()[c], variance.data<float>()[c], epsilon);
  }
  return factor;
}

}  // namespace

void batch_norm_train(const Tensor& x, float scale, const Tensor& gamma, const Tensor& beta,
                      const Tensor& running_mean, const Tensor& running_variance, double momentum,
                      double epsilon, const ops::BatchNormTrained& out) {
  const std::int64_t rows = x.rows();
  const std::int64_t channels = x.columns();
  std::vector<double> mean(static_cast<std::size_t>(channels));
  std::vector<double> variance(mean.size());
  std::vector<float> factor(mean.size());
  with_elements(x,
                [&](const auto* p) { statistics(p, scale, rows, channels, mean.data(), variance.data()); });
  const double unbiased = static_cast<double>(rows) / static_cast<double>(rows - 1);
  const auto update = [momentum](float& running, double batch) {
    running = static_cast<float>((1 - momentum) * static_cast<double>(running) + momentum * batch);
  };
  for (std::size_t c = 0; c < mean.size(); ++c) {
    const auto inverse = static_cast<float>(1 / std::sqrt(variance[c] + epsilon));
    out.mean.data<float>()[c] = static_cast<float>(mean[c]);
    out.inverse_deviation.data<float>()[c] = inverse;
    factor[c] = gamma.data<float>()[c] * inverse;
    update(running_mean.data<float>()[c], mean[c]);
    update(running_variance.data<float>()[c], variance[c] * unbiased);
  }
  with_elements(x, [&](const auto* p) {
    apply(p, scale, out.mean.data<float>(), factor.data(), beta.data<float>(), out.y.data<float>(), rows,
          channels);
  });
}

void batch_norm_backward(const Tensor& dy, const Tensor& x, float scale, const Tensor& gamma,
                         const Tensor& mean, const Tensor& inverse_deviation,
                         const ops::BatchNormGradients& out) {
  with_elements(x, [&](const auto* p) {
    backward(dy.data<float>(), p, scale, gamma.data<float>(), mean.data<float>(),
             inverse_deviation.data<float>(), out.dx.data<float>(), out.dgamma.data<float>(),
             out.dbeta.data<float>(), x.rows(), x.columns());
  });
}

void batch_norm_eval(const Tensor& x, float scale, const Tensor& gamma, const Tensor& beta,
                     const Tensor& running_mean, const Tensor& running_variance, float epsilon,
                     const Tensor& y) {
  const std::vector<float> factor = factors(gamma, running_variance, epsilon);
  with_elements(x, [&](const auto* p) {
    apply(p, scale, running_mean.data<float>(), factor.data(), beta.data<float>(), y.data<float>(), x.rows(),
          x.columns());
  });
}

void batch_norm_eval_backward(const Tensor& dy, const Tensor& gamma, const Tensor& running_variance,
                              float epsilon, const Tensor& dx) {
  const std::vector<float> factor = factors(gamma, running_variance, epsilon);
  const std::int64_t channels = dy.columns();
  each_row(dy.rows(), channels, [&](std::int64_t row) {
    const float* const g = dy.data<float>() + row * channels;
    const float* const f = factor.data();
    float* const out = dx.data<float>() + row * channels;
    for (std::int64_t c = 0; c < channels; ++c) out[c] = g[c] * f[c];
  });
}

}  // namespace hardbit::cpu
