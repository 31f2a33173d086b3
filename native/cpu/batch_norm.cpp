#include "cpu/batch_norm.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "cpu/column_sums.h"
#include "cpu/kernels/table.h"
#include "cpu/quantize.h"
#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

__extension__ using Int128 = __int128;

// Inner loops over the channels of a row. The whole training graph of a binary network streams through them,
// which is worth wider vectors where the CPU has them. Elementwise and without contraction, so every clone
// gives the same bits. (Sanitizers cannot instrument the resolver that picks a clone.)
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define HARDBIT_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define HARDBIT_CLONES
#endif

template <class T>
[[gnu::always_inline]] inline float scaled(T x, float scale) {
  if constexpr (std::is_same_v<T, float>) return x;
  return static_cast<float>(x) * scale;
}

template <class T>
[[gnu::always_inline]] inline void normalize_loop(const T* x, float scale, const float* mean,
                                                  const float* factor, const float* beta, float* __restrict y,
                                                  std::int64_t width) {
  for (std::int64_t c = 0; c < width; ++c) {
    y[c] = ops::batch_norm_value(scaled(x[c], scale), mean[c], factor[c], beta[c]);
  }
}

/// s[c] += g[c], t[c] += g[c]·(z[c] − mean[c]).
template <class T>
[[gnu::always_inline]] inline void add_gradients_loop(const float* g, const T* x, float scale,
                                                      const float* mean, double* __restrict s,
                                                      double* __restrict t, std::int64_t width) {
  for (std::int64_t c = 0; c < width; ++c) {
    const auto d = static_cast<double>(g[c]);
    s[c] += d;
    t[c] += d * static_cast<double>(scaled(x[c], scale) - mean[c]);
  }
}

/// s[c] += x[c], squares[c] += x[c]².
HARDBIT_CLONES void add_squares(const std::int16_t* x, std::int64_t* __restrict s,
                                std::int64_t* __restrict squares, std::int64_t width) {
  for (std::int64_t c = 0; c < width; ++c) {
    s[c] += x[c];
    squares[c] += std::int32_t{x[c]} * x[c];
  }
}

/// What a channel's gradients share: dx = factor·(dy − offset − (z − mean)·slope).
struct InputGradient {
  const float* mean;
  const float* factor;
  const float* offset;
  const float* slope;
};

/// `dx` may be `g`.
template <class T>
[[gnu::always_inline]] inline void input_gradient_loop(const float* g, const T* x, float scale,
                                                       const InputGradient& channel, float* dx,
                                                       std::int64_t width) {
  const auto [mean, factor, offset, slope] = channel;
#pragma GCC ivdep
  for (std::int64_t c = 0; c < width; ++c) {
    dx[c] = factor[c] * (g[c] - offset[c] - (scaled(x[c], scale) - mean[c]) * slope[c]);
  }
}

/// `y` may be `x`.
HARDBIT_CLONES void multiply(const float* x, const float* factor, float* y, std::int64_t width) {
#pragma GCC ivdep
  for (std::int64_t c = 0; c < width; ++c) y[c] = x[c] * factor[c];
}

// A template has no clones, so each type of x gets its functions by name.
#define HARDBIT_ROWS(T)                                                                                     \
  HARDBIT_CLONES void normalize(const T* x, float scale, const float* mean, const float* factor,            \
                                const float* beta, float* y, std::int64_t width) {                          \
    normalize_loop(x, scale, mean, factor, beta, y, width);                                                 \
  }                                                                                                         \
  HARDBIT_CLONES void add_gradients(const float* g, const T* x, float scale, const float* mean, double* s,  \
                                    double* t, std::int64_t width) {                                        \
    add_gradients_loop(g, x, scale, mean, s, t, width);                                                     \
  }                                                                                                         \
  HARDBIT_CLONES void input_gradient(const float* g, const T* x, float scale, const InputGradient& channel, \
                                     float* dx, std::int64_t width) {                                       \
    input_gradient_loop(g, x, scale, channel, dx, width);                                                   \
  }
HARDBIT_ROWS(float)
HARDBIT_ROWS(std::int16_t)
HARDBIT_ROWS(std::int32_t)
#undef HARDBIT_ROWS

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
                                               add_squares(p, s, low, width);
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

/// What normalizes each channel: y = batch_norm_value(z, mean, factor, beta).
struct Normalization {
  const float* mean;
  const float* factor;
  const float* beta;
};

template <class T>
void apply(const T* x, float scale, const Normalization& norm, float* y, std::int64_t rows,
           std::int64_t channels) {
  each_row(rows, channels, [=](std::int64_t row) {
    normalize(x + row * channels, scale, norm.mean, norm.factor, norm.beta, y + row * channels, channels);
  });
}

/// The signs of y, and its mask where there is one; only a part of a row of y exists at a time.
template <class T>
void apply_signs(const T* x, float scale, const Normalization& norm, const ops::BatchNormSigns& y,
                 std::int64_t rows, std::int64_t channels) {
  constexpr std::int64_t part = 1024;  // whole words of bits
  const BitKernels& kernels = selected_bit_kernels();
  const std::int64_t row_words = words(channels);
  auto* const signs = y.signs.data<std::uint64_t>();
  auto* const mask = y.mask ? y.mask->data<std::uint64_t>() : nullptr;
  each_row(rows, channels, [=, &kernels](std::int64_t row) {
    std::array<float, part> values;
    for (std::int64_t c = 0; c < channels; c += part) {
      const std::int64_t width = std::min(part, channels - c);
      const std::int64_t word = row * row_words + c / 64;
      normalize(x + row * channels + c, scale, norm.mean + c, norm.factor + c, norm.beta + c, values.data(),
                width);
      if (mask == nullptr) {
        kernels.pack_signs(values.data(), 1, width, signs + word);
      } else {
        kernels.sign_forward(values.data(), 1, width, signs + word, mask + word);
      }
    }
  });
}

/// dL/dy as it is given.
struct PlainGradient {
  const float* dy;
  std::int64_t channels;
  /// The gradient of the channels [channel, channel + width) of a row; in `room` where it has to be computed.
  /// `channel` is a multiple of 64.
  const float* operator()(std::int64_t row, std::int64_t channel, std::int64_t /*width*/,
                          float* /*room*/) const {
    return dy + row * channels + channel;
  }
};

/// dL/dy from the gradient of y's signs, by the surrogates that need no y.
struct MaskedGradient {
  const float* dy;
  std::int64_t channels;
  const std::uint64_t* mask;
  const BitKernels& kernels;
  const float* operator()(std::int64_t row, std::int64_t channel, std::int64_t width, float* room) const {
    const std::uint64_t* const bits = mask + row * words(channels) + channel / 64;
    kernels.mask_backward(dy + row * channels + channel, bits, 1, width, room);
    return room;
  }
};

/// dL/dy from the gradient of y's signs, by the surrogates of y, which is computed again.
template <class T>
struct SurrogateGradient {
  const float* dy;
  std::int64_t channels;
  ops::SignSurrogate surrogate;
  const T* x;
  float scale;
  Normalization norm;
  const BitKernels& kernels;
  const float* operator()(std::int64_t row, std::int64_t channel, std::int64_t width, float* room) const {
    const float* const g = dy + row * channels + channel;
    normalize(x + row * channels + channel, scale, norm.mean + channel, norm.factor + channel,
              norm.beta + channel, room, width);
    if (surrogate == ops::SignSurrogate::approx) {
      kernels.approx_sign_backward(g, room, width, room);
    } else {
      swish_sign_backward(g, room, ops::swish_sign_beta, room, width);
    }
    return room;
  }
};

/// Calls f(gradient) with the gradient of y that the surrogate makes of dy.
template <class T, class F>
void with_gradient(const float* dy, const T* x, float scale, const Normalization& norm, std::int64_t channels,
                   ops::SignSurrogate surrogate, const Tensor* mask, const F& f) {
  const BitKernels& kernels = selected_bit_kernels();
  switch (surrogate) {
    case ops::SignSurrogate::clipped:
      return f(MaskedGradient{dy, channels, mask->data<const std::uint64_t>(), kernels});
    case ops::SignSurrogate::identity:
      return f(PlainGradient{dy, channels});
    default:
      return f(SurrogateGradient<T>{dy, channels, surrogate, x, scale, norm, kernels});
  }
}

/// Two passes: sums of the gradient, then dx. `gradient` as PlainGradient.
template <class T, class G>
void backward(const G& gradient, const T* x, float scale, const float* gamma, const float* mean,
              const float* inverse_deviation, float* dx, float* dgamma, float* dbeta, std::int64_t rows,
              std::int64_t channels) {
  const auto sums = column_sums<double, 2>(
      rows, channels,
      [&](std::int64_t row, std::int64_t channel, std::int64_t width, TileSums<double, 2>& tile) {
        std::array<float, tile_columns> room;
        const float* const g = gradient(row, channel, width, room.data());
        add_gradients(g, x + row * channels + channel, scale, mean + channel, tile[0].data(), tile[1].data(),
                      width);
      });
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
  const InputGradient channel{mean, factor.data(), offset.data(), slope.data()};
  each_row(rows, channels, [&](std::int64_t row) {
    float* const out = dx + row * channels;
    input_gradient(gradient(row, 0, channels, out), x + row * channels, scale, channel, out, channels);
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

/// Writes the batch's statistics, updates the running ones, and returns every channel's factor.
std::vector<float> batch_statistics(const Tensor& x, float scale, const Tensor& gamma,
                                    const Tensor& running_mean, const Tensor& running_variance,
                                    double momentum, double epsilon, const Tensor& batch_mean,
                                    const Tensor& inverse_deviation) {
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
    batch_mean.data<float>()[c] = static_cast<float>(mean[c]);
    inverse_deviation.data<float>()[c] = inverse;
    factor[c] = gamma.data<float>()[c] * inverse;
    update(running_mean.data<float>()[c], mean[c]);
    update(running_variance.data<float>()[c], variance[c] * unbiased);
  }
  return factor;
}

}  // namespace

void batch_norm_train(const Tensor& x, float scale, const Tensor& gamma, const Tensor& beta,
                      const Tensor& running_mean, const Tensor& running_variance, double momentum,
                      double epsilon, const ops::BatchNormTrained& out) {
  const std::vector<float> factor = batch_statistics(x, scale, gamma, running_mean, running_variance,
                                                     momentum, epsilon, out.mean, out.inverse_deviation);
  const Normalization norm{out.mean.data<float>(), factor.data(), beta.data<float>()};
  with_elements(x, [&](const auto* p) { apply(p, scale, norm, out.y.data<float>(), x.rows(), x.columns()); });
}

void batch_norm_backward(const Tensor& dy, const Tensor& x, float scale, const Tensor& gamma,
                         const Tensor& mean, const Tensor& inverse_deviation,
                         const ops::BatchNormGradients& out) {
  with_elements(x, [&](const auto* p) {
    backward(PlainGradient{dy.data<float>(), x.columns()}, p, scale, gamma.data<float>(), mean.data<float>(),
             inverse_deviation.data<float>(), out.dx.data<float>(), out.dgamma.data<float>(),
             out.dbeta.data<float>(), x.rows(), x.columns());
  });
}

void batch_norm_eval(const Tensor& x, float scale, const Tensor& gamma, const Tensor& beta,
                     const Tensor& running_mean, const Tensor& running_variance, float epsilon,
                     const Tensor& y) {
  const std::vector<float> factor = factors(gamma, running_variance, epsilon);
  const Normalization norm{running_mean.data<float>(), factor.data(), beta.data<float>()};
  with_elements(x, [&](const auto* p) { apply(p, scale, norm, y.data<float>(), x.rows(), x.columns()); });
}

void batch_norm_eval_backward(const Tensor& dy, const Tensor& gamma, const Tensor& running_variance,
                              float epsilon, const Tensor& dx) {
  const std::vector<float> factor = factors(gamma, running_variance, epsilon);
  const std::int64_t channels = dy.columns();
  each_row(dy.rows(), channels, [&](std::int64_t row) {
    multiply(dy.data<float>() + row * channels, factor.data(), dx.data<float>() + row * channels, channels);
  });
}

void batch_norm_sign_train(const Tensor& x, float scale, const Tensor& gamma, const Tensor& beta,
                           const Tensor& running_mean, const Tensor& running_variance, double momentum,
                           double epsilon, const ops::BatchNormSignTrained& out) {
  const std::vector<float> factor = batch_statistics(x, scale, gamma, running_mean, running_variance,
                                                     momentum, epsilon, out.mean, out.inverse_deviation);
  const Normalization norm{out.mean.data<float>(), factor.data(), beta.data<float>()};
  with_elements(x, [&](const auto* p) { apply_signs(p, scale, norm, out.y, x.rows(), x.columns()); });
}

void batch_norm_sign_backward(const Tensor& dy, const Tensor& x, float scale, const Tensor& gamma,
                              const Tensor& beta, const Tensor& mean, const Tensor& inverse_deviation,
                              ops::SignSurrogate surrogate, const Tensor* mask,
                              const ops::BatchNormGradients& out) {
  const std::int64_t channels = x.columns();
  std::vector<float> factor(static_cast<std::size_t>(channels));
  for (std::size_t c = 0; c < factor.size(); ++c) {
    factor[c] = gamma.data<float>()[c] * inverse_deviation.data<float>()[c];
  }
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
  const std::vector<float> factor = factors(gamma, running_variance, epsilon);
  const Normalization norm{running_mean.data<float>(), factor.data(), beta.data<float>()};
  with_elements(x, [&](const auto* p) { apply_signs(p, scale, norm, y, x.rows(), x.columns()); });
}

void batch_norm_sign_eval_backward(const Tensor& dy, const Tensor* x, float scale, const Tensor& gamma,
                                   const Tensor& beta, const Tensor& running_mean,
                                   const Tensor& running_variance, float epsilon,
                                   ops::SignSurrogate surrogate, const Tensor* mask, const Tensor& dx) {
  const std::vector<float> factor = factors(gamma, running_variance, epsilon);
  const std::int64_t channels = dy.columns();
  const Normalization norm{running_mean.data<float>(), factor.data(), beta.data<float>()};
  // Where no x is needed, dy stands in for it and is not read as such.
  with_elements(x == nullptr ? dy : *x, [&](const auto* p) {
    with_gradient(dy.data<float>(), p, scale, norm, channels, surrogate, mask, [&](const auto& gradient) {
      each_row(dy.rows(), channels, [&](std::int64_t row) {
        float* const out = dx.data<float>() + row * channels;
        multiply(gradient(row, 0, channels, out), factor.data(), out, channels);
      });
    });
  });
}

}  // namespace hardbit::cpu
