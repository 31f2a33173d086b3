#include <cmath>
#include <type_traits>

#include "cuda/batch_norm.h"
#include "cuda/column_sums.h"
#include "cuda/pack_bits.h"

// Everything stays on the device: statistics, factors, and the sums of the backward pass go from kernel to
// kernel. Each array is read once a pass, by threads that keep to a few channels (row_vectors.h).

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

/// gamma · inverse deviation.
struct TrainingFactor {
  const float* gamma;
  const float* inverse_deviation;
  template <int V>
  __device__ Vector<float, V> of(unsigned vector) const {
    Vector<float, V> factor = channel_values<V>(gamma, vector);
    const Vector<float, V> inverse = channel_values<V>(inverse_deviation, vector);
#pragma unroll
    for (int v = 0; v < V; ++v) factor.at[v] = factor.at[v] * inverse.at[v];
    return factor;
  }
};

/// ops::batch_norm_factor, which is not constexpr.
struct EvalFactor {
  const float* gamma;
  const float* variance;
  float epsilon;
  template <int V>
  __device__ Vector<float, V> of(unsigned vector) const {
    Vector<float, V> factor = channel_values<V>(gamma, vector);
    const Vector<float, V> variances = channel_values<V>(variance, vector);
#pragma unroll
    for (int v = 0; v < V; ++v) factor.at[v] = factor.at[v] / std::sqrt(variances.at[v] + epsilon);
    return factor;
  }
};

/// What normalizes a channel.
struct Channel {
  float mean, factor, beta;
  template <class T>
  __device__ float value(T x, float scale) const {
    return ops::batch_norm_value(scaled(x, scale), mean, factor, beta);
  }
};

template <class Factor>
struct Normalization {
  const float* mean;
  Factor factor;
  const float* beta;
  template <int V>
  __device__ OfVector<Channel, V> channels(unsigned vector) const {
    const Vector<float, V> means = channel_values<V>(mean, vector);
    const Vector<float, V> factors = factor.template of<V>(vector);
    const Vector<float, V> betas = channel_values<V>(beta, vector);
    OfVector<Channel, V> channels;
#pragma unroll
    for (int v = 0; v < V; ++v) channels.at[v] = {means.at[v], factors.at[v], betas.at[v]};
    return channels;
  }
};

/// Where a channel's statistics go.
struct Statistics {
  float* running_mean;
  float* running_variance;
  float* batch_mean;
  float* inverse_deviation;
  double momentum, epsilon, unbiased;

  __device__ void store(std::int64_t c, double mean, double variance) const {
    const auto inverse = static_cast<float>(1 / std::sqrt(variance + epsilon));
    batch_mean[c] = static_cast<float>(mean);
    inverse_deviation[c] = inverse;
    const auto update = [this](float running, double batch) {
      return static_cast<float>((1 - momentum) * static_cast<double>(running) + momentum * batch);
    };
    running_mean[c] = update(running_mean[c], mean);
    running_variance[c] = update(running_variance[c], variance * unbiased);
  }
};

/// Sums of x − x[0], which lose nothing where the mean is large against the deviation, and of their squares.
template <int V>
struct FloatMoments {
  using Sum = double;
  using Input = Vector<float, V>;
  static constexpr int width = V;
  static constexpr int sums = 2;
  static constexpr int together = 4;
  const float* x;

  __device__ Input channels(unsigned vector) const { return vectors_of<V>(x)[vector]; }
  __device__ Input load(const RowVector& at) const { return vectors_of<V>(x)[at.index]; }
  __device__ void add(const Input& input, const Input& first, double* to) const {
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const double d = static_cast<double>(input.at[v]) - static_cast<double>(first.at[v]);
      to[2 * v] += d;
      to[2 * v + 1] += d * d;
    }
  }
};

/// Exact sums of x and of its squares. A square of 32 bits is below 2^63; its upper and lower 32 bits are
/// summed apart, so that 2^32 rows cannot overflow.
template <class T, int V>
struct IntegerMoments {
  using Sum = std::int64_t;
  using Input = Vector<T, V>;
  struct Channels {};
  static constexpr int width = V;
  static constexpr int sums = sizeof(T) == 2 ? 2 : 3;
  static constexpr int together = sizeof(T) == 2 ? 8 : 4;
  const T* x;

  __device__ Channels channels(unsigned) const { return {}; }
  __device__ Input load(const RowVector& at) const { return vectors_of<V>(x)[at.index]; }
  __device__ void add(const Input& input, Channels, std::int64_t* to) const {
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const std::int32_t value = input.at[v];
      std::int64_t* const of = to + sums * v;
      of[0] += value;
      if constexpr (sizeof(T) == 2) {
        of[1] += std::int64_t{value} * value;
      } else {
        const auto square = static_cast<std::uint64_t>(std::int64_t{value} * value);
        of[1] += static_cast<std::int64_t>(square & 0xFFFFFFFFU);
        of[2] += static_cast<std::int64_t>(square >> 32);
      }
    }
  }
};

template <int V>
void float_statistics(const float* x, std::int64_t rows, std::int64_t channels, Statistics to) {
  const auto n = static_cast<double>(rows);
  column_sums(rows, channels, FloatMoments<V>{x}, [=] __device__(std::int64_t c, const double* sums) {
    const double shift = sums[0] / n;
    const double variance = sums[1] / n - shift * shift;
    to.store(c, static_cast<double>(x[c]) + shift, variance < 0 ? 0 : variance);  // keeps a NaN
  });
}

template <int V, class T>
void integer_statistics(const T* x, float scale, std::int64_t rows, std::int64_t channels, Statistics to) {
  const auto n = static_cast<double>(rows);
  column_sums(rows, channels, IntegerMoments<T, V>{x},
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

/// Calls f(integral constant V) with the width of the vectors that rows of channels are read by.
template <class F>
void with_vectors(std::int64_t channels, const F& f) {
  if (channels % 4 == 0) {
    f(std::integral_constant<int, 4>());
  } else {
    f(std::integral_constant<int, 1>());
  }
}

/// The same elements where vectors can be read: only a slice with other rows than its tensor may begin
/// anywhere.
Tensor at_vectors(const Tensor& x) { return aligned(x.raw(), 16) ? x : x.clone(); }

/// Writes the batch's statistics and updates the running ones.
void batch_statistics(const Tensor& x, float scale, const Tensor& running_mean,
                      const Tensor& running_variance, double momentum, double epsilon, const Tensor& mean,
                      const Tensor& inverse_deviation) {
  const std::int64_t rows = x.rows();
  const Statistics to{.running_mean = running_mean.data<float>(),
                      .running_variance = running_variance.data<float>(),
                      .batch_mean = mean.data<float>(),
                      .inverse_deviation = inverse_deviation.data<float>(),
                      .momentum = momentum,
                      .epsilon = epsilon,
                      .unbiased = static_cast<double>(rows) / static_cast<double>(rows - 1)};
  with_elements(x, [&](const auto* p) {
    with_vectors(x.columns(), [&](auto v) {
      if constexpr (std::is_same_v<decltype(p), const float*>) {
        float_statistics<v.value>(p, rows, x.columns(), to);
      } else {
        integer_statistics<v.value>(p, scale, rows, x.columns(), to);
      }
    });
  });
}

template <class T, int V, class Factor>
struct Normalize {
  using Input = Vector<T, V>;
  static constexpr int together = sizeof(T) == 2 ? 4 : 2;
  const T* x;
  float scale;
  Normalization<Factor> norm;
  float* y;

  __device__ OfVector<Channel, V> channels(unsigned vector) const {
    return norm.template channels<V>(vector);
  }
  __device__ Input load(const RowVector& at) const { return vectors_of<V>(x)[at.index]; }
  __device__ void store(const RowVector& at, const Input& input, const OfVector<Channel, V>& channels) const {
    Vector<float, V> out;
#pragma unroll
    for (int v = 0; v < V; ++v) out.at[v] = channels.at[v].value(input.at[v], scale);
    vectors_of<V>(y)[at.index] = out;
  }
};

template <class Factor>
void apply(const Tensor& x, float scale, const Normalization<Factor>& norm, float* y) {
  const std::int64_t channels = x.columns();
  with_elements(x, [&](const auto* p) {
    with_vectors(channels, [&](auto v) {
      using T = std::remove_const_t<std::remove_pointer_t<decltype(p)>>;
      for_row_vectors(x.rows(), channels / v.value, Normalize<T, v.value, Factor>{p, scale, norm, y});
    });
  });
}

/// Bit 0: the sign of y; bit 1: |y| ≤ 1.
template <class Factor>
struct Signs {
  Normalization<Factor> norm;
  float scale;
  template <int V>
  __device__ OfVector<Channel, V> channels(unsigned vector) const {
    return norm.template channels<V>(vector);
  }
  template <class T>
  __device__ unsigned operator()(T x, const Channel& channel) const {
    return sign_and_mask(channel.value(x, scale));
  }
};

template <class Factor>
void apply_signs(const Tensor& x, float scale, const Normalization<Factor>& norm,
                 const ops::BatchNormSigns& y) {
  auto* const signs = y.signs.data<std::uint64_t>();
  with_elements(x, [&](const auto* p) {
    if (y.mask) {
      pack_elements<2>(p, x.rows(), x.columns(), Signs<Factor>{norm, scale}, signs,
                       y.mask->template data<std::uint64_t>());
    } else {
      pack_elements<1>(p, x.rows(), x.columns(), Signs<Factor>{norm, scale}, signs);
    }
  });
}

/// The gradient of y where y is not needed: dy, or what a mask lets through of it.
template <int V>
struct MaskedGradient {
  struct Input {
    Vector<float, V> dy;
    unsigned passes;
  };
  struct Channels {};
  static constexpr int together = 4;
  const float* dy;
  const std::uint8_t* mask;  // null: everything passes
  std::uint32_t row_bytes;

  __device__ Channels channels(unsigned) const { return {}; }
  __device__ Input load(const RowVector& at) const {
    return {vectors_of<V>(dy)[at.index],
            mask == nullptr
                ? ~0U
                : unsigned{mask[at.row * row_bytes + at.vector / (8 / V)]} >> at.vector % (8 / V) * V};
  }
  __device__ float value(const Input& input, const Channels&, int v) const {
    return (input.passes >> v & 1) != 0 ? input.dy.at[v] : 0.0F;
  }
};

/// What the surrogates of y, which is computed again, make of dy.
template <class T, int V, class Factor>
struct SurrogateGradient {
  struct Input {
    Vector<float, V> dy;
    Vector<T, V> x;
  };
  using Channels = OfVector<Channel, V>;
  static constexpr int together = 1;  // computing takes longer than reading
  const float* dy;
  const T* x;
  float scale;
  Normalization<Factor> norm;
  bool approx;

  __device__ Channels channels(unsigned vector) const { return norm.template channels<V>(vector); }
  __device__ Input load(const RowVector& at) const {
    return {vectors_of<V>(dy)[at.index], vectors_of<V>(x)[at.index]};
  }
  __device__ float value(const Input& input, const Channels& channels, int v) const {
    const float g = input.dy.at[v];
    const float y = channels.at[v].value(input.x.at[v], scale);
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

template <int V>
MaskedGradient<V> masked_gradient(const Tensor& dy, const Tensor* mask) {
  return {dy.data<float>(), mask == nullptr ? nullptr : mask->data<const std::uint8_t>(),
          static_cast<std::uint32_t>(8 * words(dy.columns()))};
}

/// Calls f(gradient) with the gradient of y that the surrogate makes of dy. The few registers of those that
/// need no y are not held up by the others.
template <int V, class T, class Factor, class F>
void with_gradient(const Tensor& dy, const T* x, float scale, const Normalization<Factor>& norm,
                   ops::SignSurrogate surrogate, const Tensor* mask, const F& f) {
  const bool approx = surrogate == ops::SignSurrogate::approx;
  if (approx || surrogate == ops::SignSurrogate::swish) {
    return f(SurrogateGradient<T, V, Factor>{dy.data<float>(), x, scale, norm, approx});
  }
  f(masked_gradient<V>(dy, mask));
}

/// Σ g and Σ g·(z − mean) of the gradients g of y.
template <class T, int V, class G>
struct GradientSums {
  using Sum = double;
  struct Input {
    typename G::Input gradient;
    Vector<T, V> x;
  };
  struct Channels {
    typename G::Channels gradient;
    Vector<float, V> mean;
  };
  static constexpr int width = V;
  static constexpr int sums = 2;
  // What four blocks a multiprocessor have registers for.
  static constexpr int together = G::together < 3 ? G::together : 3;
  G gradient;
  const T* x;
  float scale;
  const float* mean;

  __device__ Channels channels(unsigned vector) const {
    return {gradient.channels(vector), channel_values<V>(mean, vector)};
  }
  __device__ Input load(const RowVector& at) const { return {gradient.load(at), vectors_of<V>(x)[at.index]}; }
  __device__ void add(const Input& input, const Channels& channels, double* to) const {
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const auto d = static_cast<double>(gradient.value(input.gradient, channels.gradient, v));
      to[2 * v] += d;
      to[2 * v + 1] += d * static_cast<double>(scaled(input.x.at[v], scale) - channels.mean.at[v]);
    }
  }
};

/// dx = factor·(g − offset − (z − mean)·slope).
template <class T, int V, class G>
struct InputGradient {
  struct Input {
    typename G::Input gradient;
    Vector<T, V> x;
  };
  struct Channels {
    typename G::Channels gradient;
    Vector<float, V> mean, factor, offset, slope;
  };
  static constexpr int together = G::together;
  G gradient;
  const T* x;
  float scale;
  const float* mean;
  TrainingFactor factor;
  const float* offset;
  const float* slope;
  float* dx;

  __device__ Channels channels(unsigned vector) const {
    return {gradient.channels(vector), channel_values<V>(mean, vector), factor.template of<V>(vector),
            channel_values<V>(offset, vector), channel_values<V>(slope, vector)};
  }
  __device__ Input load(const RowVector& at) const { return {gradient.load(at), vectors_of<V>(x)[at.index]}; }
  __device__ void store(const RowVector& at, const Input& input, const Channels& channels) const {
    Vector<float, V> out;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const float z = scaled(input.x.at[v], scale);
      out.at[v] =
          channels.factor.at[v] * (gradient.value(input.gradient, channels.gradient, v) -
                                   channels.offset.at[v] - (z - channels.mean.at[v]) * channels.slope.at[v]);
    }
    vectors_of<V>(dx)[at.index] = out;
  }
};

/// Two passes: sums of the gradient, then dx.
template <int V, class T, class G>
void backward(const G& gradient, const T* x, float scale, const TrainingFactor& factor, const float* mean,
              float* dx, float* dgamma, float* dbeta, std::int64_t rows, std::int64_t channels) {
  const Scratch<float> shared(2 * channels);
  float* const offset = shared.data();
  float* const slope = offset + channels;
  const float* const inverse_deviation = factor.inverse_deviation;
  const auto n = static_cast<double>(rows);
  column_sums(rows, channels, GradientSums<T, V, G>{gradient, x, scale, mean},
              [=] __device__(std::int64_t c, const double* sums) {
                const auto inverse = static_cast<double>(inverse_deviation[c]);
                dbeta[c] = static_cast<float>(sums[0]);
                dgamma[c] = static_cast<float>(sums[1] * inverse);
                offset[c] = static_cast<float>(sums[0] / n);
                slope[c] = static_cast<float>(sums[1] / n * inverse * inverse);
              });
  for_row_vectors(rows, channels / V,
                  InputGradient<T, V, G>{gradient, x, scale, mean, factor, offset, slope, dx});
}

template <int V, class G>
struct EvalGradient {
  using Input = typename G::Input;
  struct Channels {
    typename G::Channels gradient;
    Vector<float, V> factor;
  };
  static constexpr int together = G::together;
  G gradient;
  EvalFactor factor;
  float* dx;

  __device__ Channels channels(unsigned vector) const {
    return {gradient.channels(vector), factor.template of<V>(vector)};
  }
  __device__ Input load(const RowVector& at) const { return gradient.load(at); }
  __device__ void store(const RowVector& at, const Input& input, const Channels& channels) const {
    Vector<float, V> out;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      out.at[v] = gradient.value(input, channels.gradient, v) * channels.factor.at[v];
    }
    vectors_of<V>(dx)[at.index] = out;
  }
};

template <int V, class G>
void eval_backward(const G& gradient, const EvalFactor& factor, const Tensor& dx) {
  for_row_vectors(dx.rows(), dx.columns() / V, EvalGradient<V, G>{gradient, factor, dx.data<float>()});
}

Normalization<TrainingFactor> training(const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                                       const Tensor& inverse_deviation) {
  return {mean.data<float>(), {gamma.data<float>(), inverse_deviation.data<float>()}, beta.data<float>()};
}
Normalization<EvalFactor> evaluation(const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
                                     const Tensor& running_variance, float epsilon) {
  return {running_mean.data<float>(),
          {gamma.data<float>(), running_variance.data<float>(), epsilon},
          beta.data<float>()};
}

}  // namespace

void batch_norm_train(const Tensor& x, float scale, const Tensor& gamma, const Tensor& beta,
                      const Tensor& running_mean, const Tensor& running_variance, double momentum,
                      double epsilon, const ops::BatchNormTrained& out) {
  const Tensor z = at_vectors(x);
  batch_statistics(z, scale, running_mean, running_variance, momentum, epsilon, out.mean,
                   out.inverse_deviation);
  apply(z, scale, training(gamma, beta, out.mean, out.inverse_deviation), out.y.data<float>());
}

void batch_norm_backward(const Tensor& dy, const Tensor& x, float scale, const Tensor& gamma,
                         const Tensor& mean, const Tensor& inverse_deviation,
                         const ops::BatchNormGradients& out) {
  // beta, which is not needed where nothing else is asked for than dy itself
  batch_norm_sign_backward(dy, x, scale, gamma, gamma, mean, inverse_deviation, ops::SignSurrogate::identity,
                           nullptr, out);
}

void batch_norm_eval(const Tensor& x, float scale, const Tensor& gamma, const Tensor& beta,
                     const Tensor& running_mean, const Tensor& running_variance, float epsilon,
                     const Tensor& y) {
  apply(at_vectors(x), scale, evaluation(gamma, beta, running_mean, running_variance, epsilon),
        y.data<float>());
}

void batch_norm_eval_backward(const Tensor& dy, const Tensor& gamma, const Tensor& running_variance,
                              float epsilon, const Tensor& dx) {
  const Tensor g = at_vectors(dy);
  with_vectors(dy.columns(), [&](auto v) {
    eval_backward<v.value>(masked_gradient<v.value>(g, nullptr),
                           {gamma.data<float>(), running_variance.data<float>(), epsilon}, dx);
  });
}

void batch_norm_sign_train(const Tensor& x, float scale, const Tensor& gamma, const Tensor& beta,
                           const Tensor& running_mean, const Tensor& running_variance, double momentum,
                           double epsilon, const ops::BatchNormSignTrained& out) {
  const Tensor z = at_vectors(x);
  batch_statistics(z, scale, running_mean, running_variance, momentum, epsilon, out.mean,
                   out.inverse_deviation);
  apply_signs(z, scale, training(gamma, beta, out.mean, out.inverse_deviation), out.y);
}

void batch_norm_sign_backward(const Tensor& dy, const Tensor& x, float scale, const Tensor& gamma,
                              const Tensor& beta, const Tensor& mean, const Tensor& inverse_deviation,
                              ops::SignSurrogate surrogate, const Tensor* mask,
                              const ops::BatchNormGradients& out) {
  const Tensor g = at_vectors(dy);
  const Tensor z = at_vectors(x);
  const auto norm = training(gamma, beta, mean, inverse_deviation);
  with_elements(z, [&](const auto* p) {
    with_vectors(z.columns(), [&](auto v) {
      with_gradient<v.value>(g, p, scale, norm, surrogate, mask, [&](const auto& gradient) {
        backward<v.value>(gradient, p, scale, norm.factor, norm.mean, out.dx.data<float>(),
                          out.dgamma.data<float>(), out.dbeta.data<float>(), z.rows(), z.columns());
      });
    });
  });
}

void batch_norm_sign_eval(const Tensor& x, float scale, const Tensor& gamma, const Tensor& beta,
                          const Tensor& running_mean, const Tensor& running_variance, float epsilon,
                          const ops::BatchNormSigns& y) {
  apply_signs(at_vectors(x), scale, evaluation(gamma, beta, running_mean, running_variance, epsilon), y);
}

void batch_norm_sign_eval_backward(const Tensor& dy, const Tensor* x, float scale, const Tensor& gamma,
                                   const Tensor& beta, const Tensor& running_mean,
                                   const Tensor& running_variance, float epsilon,
                                   ops::SignSurrogate surrogate, const Tensor* mask, const Tensor& dx) {
  const Tensor g = at_vectors(dy);
  // Where no x is needed, dy stands in for it and is not read as such.
  const Tensor z = x == nullptr ? g : at_vectors(*x);
  const auto norm = evaluation(gamma, beta, running_mean, running_variance, epsilon);
  with_elements(z, [&](const auto* p) {
    with_vectors(g.columns(), [&](auto v) {
      with_gradient<v.value>(g, p, scale, norm, surrogate, mask, [&](const auto& gradient) {
        eval_backward<v.value>(gradient, norm.factor, dx);
      });
    });
  });
}

}  // namespace hardbit::cuda
