#include "cpu/quantize_weights.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>

#include "cpu/bits.h"
#include "cpu/kernels/table.h"
#include "cpu/ordered_sum.h"
#include "runtime/tensor.h"
#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

/// Columns taken at a time, so that what is in between stays on the stack; whole words.
constexpr std::int64_t chunk = 2048;

/// Calls f(row, column, width) for pieces of at most `chunk` columns of all rows, on all threads.
template <class F>
void each_chunk(std::int64_t rows, std::int64_t columns, const F& f) {
  parallel_for(rows, rows_grain(columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t column = 0; column < columns; column += chunk) {
        f(row, column, std::min(columns - column, chunk));
      }
    }
  });
}

double magnitude(float v) { return static_cast<double>(std::abs(v)); }

/// tanh in double with one exponential; the relative error is below 2^-40.
double tanh_of(double x) {
  const double a = std::abs(x);
  const double e = std::exp(-2 * a);
  // The quotient loses digits to cancellation near 0, where two terms of the series have them all.
  const double t = a < 1e-4 ? a - a * a * a / 3 : (1 - e) / (1 + e);
  return std::copysign(t, x);
}

}  // namespace

void pack_signs_shifted(const float* w, float shift, std::uint64_t* bits, std::int64_t rows,
                        std::int64_t columns) {
  const BitKernels& kernels = selected_bit_kernels();
  each_chunk(rows, columns, [&](std::int64_t row, std::int64_t column, std::int64_t width) {
    std::array<float, chunk> shifted;
    const float* const from = w + row * columns + column;
    for (std::int64_t i = 0; i < width; ++i) shifted[static_cast<std::size_t>(i)] = from[i] + shift;
    kernels.pack_signs(shifted.data(), 1, width, bits + row * words(columns) + column / 64);
  });
}

double sum_magnitudes(const float* w, std::int64_t n) {
  double total = 0;
  for (const double piece : pieces<double>(n, [=](std::int64_t begin, std::int64_t end) {
         return ordered_sum(begin, end, [=](std::int64_t i) { return magnitude(w[i]); });
       })) {
    total += piece;
  }
  return total;
}

void row_magnitudes(const float* w, float* means, std::int64_t rows, std::int64_t columns) {
  parallel_for(rows, rows_grain(columns), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* const p = w + row * columns;
      const double sum = ordered_sum(0, columns, [=](std::int64_t i) { return magnitude(p[i]); });
      means[row] = static_cast<float>(sum / static_cast<double>(columns));
    }
  });
}

void magnitude_sign_backward(const float* g, const float* w, const float* alpha,
                             ops::MagnitudeGradient gradient, float* dw, std::int64_t rows,
                             std::int64_t columns) {
  const double share = 1 / static_cast<double>(columns);
  parallel_for(rows, rows_grain(columns), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* const gradients = g + row * columns;
      const float* const weights = w + row * columns;
      float* const out = dw + row * columns;
      const auto a = static_cast<double>(alpha[row]);
      const auto passed = [=](std::int64_t i) { return std::abs(weights[i]) <= 1 ? a : 0.0; };
      const auto sign = [=](std::int64_t i) { return weights[i] >= 0 ? 1.0 : -1.0; };
      const auto incoming = [=](std::int64_t i) { return static_cast<double>(gradients[i]); };
      switch (gradient) {
        case ops::MagnitudeGradient::constant:
          for (std::int64_t i = 0; i < columns; ++i) {
            const float product = alpha[row] * gradients[i];
            out[i] = std::abs(weights[i]) <= 1 ? product : 0.0F;
          }
          break;
        case ops::MagnitudeGradient::paper:
          for (std::int64_t i = 0; i < columns; ++i)
            out[i] = static_cast<float>(incoming(i) * (share + passed(i)));
          break;
        case ops::MagnitudeGradient::chain: {
          const double of_alpha =
              share * ordered_sum(0, columns, [=](std::int64_t i) { return sign(i) * incoming(i); });
          for (std::int64_t i = 0; i < columns; ++i)
            out[i] = static_cast<float>(passed(i) * incoming(i) + sign(i) * of_alpha);
          break;
        }
      }
    }
  });
}

float tanh_weights(const float* w, float* t, std::int64_t n) {
  float largest = 0;
  for (const float piece : pieces<float>(n, [=](std::int64_t begin, std::int64_t end) {
         float most = 0;
         for (std::int64_t i = begin; i < end; ++i) {
           t[i] = static_cast<float>(tanh_of(static_cast<double>(w[i])));
           most = std::abs(t[i]) > most ? std::abs(t[i]) : most;  // never a NaN
         }
         return most;
       })) {
    largest = std::max(largest, piece);
  }
  return largest;
}

void dorefa_codes(float* t, float maximum, int bits, std::uint8_t* codes, std::int64_t n) {
  const BitKernels& kernels = selected_bit_kernels();
  const float range = 2 * maximum;
  parallel_for(n, element_grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) t[i] = t[i] / range + 0.5F;
    kernels.discretize(t + begin, end - begin, bits, codes + begin);
  });
}

void dorefa_weights_backward(const float* g, const float* w, double maximum, float* dw, std::int64_t n) {
  parallel_for(n, element_grain / 8, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      // 1 − tanh² = 4e/(1 + e)² with e = exp(−2|w|), without cancellation.
      const double e = std::exp(-2 * magnitude(w[i]));
      dw[i] = static_cast<float>(static_cast<double>(g[i]) * (4 * e / ((1 + e) * (1 + e))) / maximum);
    }
  });
}

int code_planes(const std::uint8_t* codes, int bits, std::uint64_t* planes, std::int64_t rows,
                std::int64_t columns) {
  const BitKernels& kernels = selected_bit_kernels();
  const std::int64_t row_words = words(columns);
  std::atomic<int> all{0};
  each_chunk(rows, columns, [&](std::int64_t row, std::int64_t column, std::int64_t width) {
    std::array<std::uint64_t, 8 * chunk / 64> split;
    const int found = kernels.pack_planes(codes + row * columns + column, 1, width, bits, split.data());
    all.fetch_or(found, std::memory_order_relaxed);
    for (std::int64_t p = 0; p < bits; ++p) {
      std::copy_n(split.data() + p * words(width), words(width),
                  planes + (p * rows + row) * row_words + column / 64);
    }
  });
  return all;
}

void planes_to_float(const std::uint64_t* planes, std::span<const float> coefficients, const float* scale,
                     float* w, std::int64_t rows, std::int64_t columns) {
  const BitKernels& kernels = selected_bit_kernels();
  const std::int64_t row_words = words(columns);
  each_chunk(rows, columns, [&](std::int64_t row, std::int64_t column, std::int64_t width) {
    std::array<float, chunk> sums{};
    std::array<float, chunk> signs;
    const auto n = static_cast<std::size_t>(width);
    for (std::size_t p = 0; p < coefficients.size(); ++p) {
      const std::int64_t plane_row = static_cast<std::int64_t>(p) * rows + row;
      kernels.unpack_signs(planes + plane_row * row_words + column / 64, 1, width, signs.data());
      for (std::size_t i = 0; i < n; ++i) sums[i] += coefficients[p] * signs[i];
    }
    float* const out = w + row * columns + column;
    for (std::size_t i = 0; i < n; ++i) out[i] = sums[i] * scale[row];
  });
}

template <class T>
void combine_planes(const T* y, std::span<const std::int32_t> coefficients, std::int32_t* sums,
                    std::int64_t rows, std::int64_t channels) {
  const auto planes = static_cast<std::int64_t>(coefficients.size());
  parallel_for(rows, rows_grain(channels * planes), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      std::int32_t* const __restrict out = sums + row * channels;
      std::fill_n(out, channels, 0);
      for (std::int64_t p = 0; p < planes; ++p) {
        const T* const v = y + (row * planes + p) * channels;
        const auto factor = static_cast<std::uint32_t>(coefficients[static_cast<std::size_t>(p)]);
        for (std::int64_t m = 0; m < channels; ++m) {
          // Unsigned, so that a sum that does not fit wraps around and is not undefined.
          out[m] = static_cast<std::int32_t>(static_cast<std::uint32_t>(out[m]) +
                                             factor * static_cast<std::uint32_t>(v[m]));
        }
      }
    }
  });
}
template void combine_planes(const std::int16_t*, std::span<const std::int32_t>, std::int32_t*, std::int64_t,
                             std::int64_t);
template void combine_planes(const std::int32_t*, std::span<const std::int32_t>, std::int32_t*, std::int64_t,
                             std::int64_t);

}  // namespace hardbit::cpu
