#include <algorithm>
#include <cmath>
#include <iterator>

#include "cuda/pack_bits.h"
#include "cuda/quantize_weights.h"
#include "ops/discretize.h"
#include "runtime/error.h"

namespace hardbit::cuda {
namespace {

/// Coefficients as an argument of a kernel: nothing is copied, so the call may be recorded. Planes are those
/// of codes of at most 8 bits, or of a ternary weight.
template <class T>
struct Coefficients {
  T values[16];
  int count;
  explicit Coefficients(std::span<const T> given) : count(static_cast<int>(given.size())) {
    if (given.size() > std::size(values)) {
      throw Error("ERR_HARDBIT_UNSUPPORTED",
                  "Weights of more than 16 planes do not run on the GPU; use fewer.");
    }
    std::copy(given.begin(), given.end(), values);
  }
};

struct Larger {
  __device__ float operator()(float a, float b) const { return b > a ? b : a; }
};

/// sums[row] = finish(Σ term(row, column)) in double, a block a row.
template <class Term, class Finish>
__global__ void __launch_bounds__(256) row_sums_kernel(std::int64_t columns, Term term, Finish finish) {
  __shared__ double shared[256];
  const std::int64_t row = blockIdx.x;
  double sum = 0;
  for (std::int64_t c = threadIdx.x; c < columns; c += 256) sum += term(row, c);
  sum = reduce_block(sum, Plus(), shared);
  finish(row, sum);
}

/// `finish(row, sum)` runs on all 256 threads of the row's block.
template <class Term, class Finish>
void row_sums(std::int64_t rows, std::int64_t columns, Term term, Finish finish) {
  launch(row_sums_kernel<Term, Finish>, dim3(static_cast<unsigned>(rows)), dim3(256), 0, columns, term,
         finish);
}

/// cpu/quantize_weights.cpp's tanh with one exponential.
__device__ inline double tanh_of(double x) {
  const double a = std::fabs(x);
  const double e = std::exp(-2 * a);
  const double t = a < 1e-4 ? a - a * a * a / 3 : (1 - e) / (1 + e);
  return std::copysign(t, x);
}

}  // namespace

void pack_signs_shifted(const float* w, float shift, std::uint64_t* bits, std::int64_t rows,
                        std::int64_t columns) {
  pack_bits<1>(
      rows, columns,
      [=] __device__(std::int64_t row, std::int64_t column) {
        return w[row * columns + column] + shift >= 0.0F ? 1U : 0U;
      },
      bits);
}

double sum_magnitudes(const float* w, std::int64_t n) {
  return reduced(
      n, 0.0, [=] __device__(std::int64_t i) { return static_cast<double>(std::fabs(w[i])); }, Plus());
}

void row_magnitudes(const float* w, float* means, std::int64_t rows, std::int64_t columns) {
  row_sums(
      rows, columns,
      [=] __device__(std::int64_t row, std::int64_t c) {
        return static_cast<double>(std::fabs(w[row * columns + c]));
      },
      [=] __device__(std::int64_t row, double sum) {
        if (threadIdx.x == 0) means[row] = static_cast<float>(sum / static_cast<double>(columns));
      });
}

void magnitude_sign_backward(const float* g, const float* w, const float* alpha,
                             ops::MagnitudeGradient gradient, float* dw, std::int64_t rows,
                             std::int64_t columns) {
  const double share = 1 / static_cast<double>(columns);
  switch (gradient) {
    case ops::MagnitudeGradient::constant:
      for_each_element(rows, columns, [=] __device__(std::int64_t row, std::int64_t, std::int64_t i) {
        dw[i] = std::fabs(w[i]) <= 1 ? alpha[row] * g[i] : 0.0F;
      });
      break;
    case ops::MagnitudeGradient::paper:
      for_each_element(rows, columns, [=] __device__(std::int64_t row, std::int64_t, std::int64_t i) {
        const double passed = std::fabs(w[i]) <= 1 ? static_cast<double>(alpha[row]) : 0.0;
        dw[i] = static_cast<float>(static_cast<double>(g[i]) * (share + passed));
      });
      break;
    case ops::MagnitudeGradient::chain:
      row_sums(
          rows, columns,
          [=] __device__(std::int64_t row, std::int64_t c) {
            const std::int64_t i = row * columns + c;
            return (w[i] >= 0 ? 1.0 : -1.0) * static_cast<double>(g[i]);
          },
          [=] __device__(std::int64_t row, double sum) {
            const double of_alpha = share * sum;
            const auto a = static_cast<double>(alpha[row]);
            for (std::int64_t c = threadIdx.x; c < columns; c += 256) {
              const std::int64_t i = row * columns + c;
              const double passed = std::fabs(w[i]) <= 1 ? a : 0.0;
              const double sign = w[i] >= 0 ? 1.0 : -1.0;
              dw[i] = static_cast<float>(passed * static_cast<double>(g[i]) + sign * of_alpha);
            }
          });
      break;
  }
}

float tanh_weights(const float* w, float* t, std::int64_t n) {
  return reduced(
      n, 0.0F,
      [=] __device__(std::int64_t i) {
        t[i] = static_cast<float>(tanh_of(static_cast<double>(w[i])));
        return std::fabs(t[i]);  // a NaN is never larger
      },
      Larger());
}

void dorefa_codes(float* t, float maximum, int bits, std::uint8_t* codes, std::int64_t n) {
  const float range = 2 * maximum;
  for_each(n, [=] __device__(std::int64_t i) {
    t[i] = t[i] / range + 0.5F;
    codes[i] = quantize_code(t[i], bits);
  });
}

void dorefa_weights_backward(const float* g, const float* w, double maximum, float* dw, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) {
    // 1 − tanh² = 4e/(1 + e)² with e = exp(−2|w|), without cancellation.
    const double e = std::exp(-2 * static_cast<double>(std::fabs(w[i])));
    dw[i] = static_cast<float>(static_cast<double>(g[i]) * (4 * e / ((1 + e) * (1 + e))) / maximum);
  });
}

void code_planes(const std::uint8_t* codes, int bits, std::uint64_t* planes, std::int64_t rows,
                 std::int64_t columns) {
  std::uint32_t* const reports = report_words();
  for (int p = 0; p < bits; ++p) {
    pack_bits<1>(
        rows, columns,
        [=] __device__(std::int64_t row, std::int64_t column) {
          const unsigned code = codes[row * columns + column];
          if (code >> bits != 0) report(reports, Report::code);
          return code >> p & 1U;
        },
        planes + p * rows * words(columns));
  }
}

void planes_to_float(const std::uint64_t* planes, std::span<const float> coefficients, const float* scale,
                     float* w, std::int64_t rows, std::int64_t columns) {
  const std::int64_t row_words = words(columns);
  Coefficients<float> factors(coefficients);
  for_each_element(rows, columns, [=] __device__(std::int64_t row, std::int64_t column, std::int64_t i) {
    float sum = 0;
    for (int p = 0; p < factors.count; ++p) {
      sum += bit_at(planes, row_words, p * rows + row, column) ? factors.values[p] : -factors.values[p];
    }
    w[i] = sum * scale[row];
  });
}

template <class T>
void combine_planes(const T* y, std::span<const std::int32_t> coefficients, std::int32_t* sums,
                    std::int64_t rows, std::int64_t channels) {
  Coefficients<std::int32_t> factors(coefficients);
  for_each_element(rows, channels, [=] __device__(std::int64_t row, std::int64_t m, std::int64_t i) {
    std::uint32_t sum = 0;  // so that a sum that does not fit wraps around
    for (int p = 0; p < factors.count; ++p) {
      sum += static_cast<std::uint32_t>(factors.values[p]) *
             static_cast<std::uint32_t>(y[(row * factors.count + p) * channels + m]);
    }
    sums[i] = static_cast<std::int32_t>(sum);
  });
}
template void combine_planes(const std::int16_t*, std::span<const std::int32_t>, std::int32_t*, std::int64_t,
                             std::int64_t);
template void combine_planes(const std::int32_t*, std::span<const std::int32_t>, std::int32_t*, std::int64_t,
                             std::int64_t);

}  // namespace hardbit::cuda
