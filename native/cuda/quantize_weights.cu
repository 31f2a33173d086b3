#include <cmath>
#include <type_traits>

#include "cuda/codes.h"
#include "cuda/kernel.h"
#include "cuda/quantize_weights.h"
#include "ops/discretize.h"

namespace hardbit::cuda {
namespace {

__device__ inline double magnitude(float v) { return static_cast<double>(std::fabs(v)); }

__device__ inline double sign_of(float v) { return v >= 0 ? 1.0 : -1.0; }

/// As on the cpu (cpu/quantize_weights.cpp).
__device__ inline double tanh_of(double x) {
  const double a = std::fabs(x);
  const double e = std::exp(-2 * a);
  const double t = a < 1e-4 ? a - a * a * a / 3 : (1 - e) / (1 + e);
  return std::copysign(t, x);
}

/// The larger one; never a NaN where `a` is none.
struct Larger {
  __device__ float operator()(float a, float b) const { return b > a ? b : a; }
};

constexpr dim3 a_block_a_row(std::int64_t rows) {
  return dim3(static_cast<unsigned>(rows < (1 << 20) ? rows : 1 << 20));
}

__global__ void __launch_bounds__(256)
    row_magnitudes_kernel(const float* w, float* means, std::int64_t rows, std::int64_t columns) {
  __shared__ double shared[256];
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    double sum = 0;
    for (std::int64_t i = threadIdx.x; i < columns; i += 256) sum += magnitude(w[row * columns + i]);
    __syncthreads();  // the sum of the row before has been read
    sum = reduce_block(sum, Plus{}, shared);
    if (threadIdx.x == 0) means[row] = static_cast<float>(sum / static_cast<double>(columns));
  }
}

__global__ void __launch_bounds__(256) chain_kernel(const float* g, const float* w, const float* alpha,
                                                    float* dw, std::int64_t rows, std::int64_t columns) {
  __shared__ double shared[256];
  const double share = 1 / static_cast<double>(columns);
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const std::int64_t begin = row * columns;
    double sum = 0;
    for (std::int64_t i = begin + threadIdx.x; i < begin + columns; i += 256)
      sum += sign_of(w[i]) * static_cast<double>(g[i]);
    __syncthreads();  // the sum of the row before has been read
    const double of_alpha = share * reduce_block(sum, Plus{}, shared);
    const auto a = static_cast<double>(alpha[row]);
    for (std::int64_t i = begin + threadIdx.x; i < begin + columns; i += 256) {
      const double passed = std::fabs(w[i]) <= 1 ? a : 0.0;
      dw[i] = static_cast<float>(passed * static_cast<double>(g[i]) + sign_of(w[i]) * of_alpha);
    }
  }
}

/// Coefficients of planes, in the arguments of a kernel: nothing has to be copied first, and a recorded
/// kernel keeps them.
template <class T>
struct FewCoefficients {
  static constexpr std::size_t most = 32;
  T values[most];
  int count;
  __device__ T operator[](int p) const { return values[p]; }
};
/// Those of more planes.
template <class T>
struct ManyCoefficients {
  const T* values;
  int count;
  __device__ T operator[](int p) const { return values[p]; }
};

template <class Coefficients>
void sum_planes(const std::uint64_t* planes, Coefficients coefficients, const float* scale, float* w,
                std::int64_t rows, std::int64_t columns) {
  const auto* const halves = reinterpret_cast<const std::uint32_t*>(planes);
  const std::int64_t row_halves = 2 * words(columns);
  for_each(rows * columns, [=] __device__(std::int64_t i) {
    const Place at = place_of(i, columns);
    const std::uint32_t* half = halves + at.row * row_halves + at.column / 32;
    float sum = 0;
    for (int p = 0; p < coefficients.count; ++p, half += rows * row_halves)
      sum += (*half >> (at.column % 32) & 1) != 0 ? coefficients[p] : -coefficients[p];
    w[i] = sum * scale[at.row];
  });
}

template <class T, class Coefficients>
void combine(const T* y, Coefficients coefficients, std::int32_t* sums, std::int64_t rows,
             std::int64_t channels) {
  for_each(rows * channels, [=] __device__(std::int64_t i) {
    const Place at = place_of(i, channels);
    const T* v = y + at.row * coefficients.count * channels + at.column;
    std::uint32_t sum = 0;  // unsigned, so that a sum that does not fit wraps around
    for (int p = 0; p < coefficients.count; ++p, v += channels)
      sum += static_cast<std::uint32_t>(coefficients[p]) * static_cast<std::uint32_t>(*v);
    sums[i] = static_cast<std::int32_t>(sum);
  });
}

/// Calls run() with the coefficients as kernels take them.
template <class T, class Run>
void with_coefficients(std::span<const T> coefficients, const Run& run) {
  const auto count = static_cast<int>(coefficients.size());
  if (coefficients.size() > FewCoefficients<T>::most) {
    const Table<T> table(coefficients);
    run(ManyCoefficients<T>{table.data(), count});
    return;
  }
  FewCoefficients<T> few{{}, count};
  for (std::size_t p = 0; p < coefficients.size(); ++p) few.values[p] = coefficients[p];
  run(few);
}

}  // namespace

void pack_signs_shifted(const float* w, float shift, std::uint64_t* bits, std::int64_t rows,
                        std::int64_t columns) {
  pack_bits<1>(
      rows, columns,
      [=] __device__(std::int64_t row, std::int64_t column) {
        return w[row * columns + column] + shift >= 0 ? 1U : 0U;
      },
      bits);
}

double sum_magnitudes(const float* w, std::int64_t n) {
  return reduced(
      n, 0.0, [=] __device__(std::int64_t i) { return magnitude(w[i]); }, Plus{});
}

void row_magnitudes(const float* w, float* means, std::int64_t rows, std::int64_t columns) {
  launch(row_magnitudes_kernel, a_block_a_row(rows), dim3(256), 0, w, means, rows, columns);
}

void magnitude_sign_backward(const float* g, const float* w, const float* alpha,
                             ops::MagnitudeGradient gradient, float* dw, std::int64_t rows,
                             std::int64_t columns) {
  if (columns == 0) return;
  switch (gradient) {
    case ops::MagnitudeGradient::constant:
      for_each(rows * columns, [=] __device__(std::int64_t i) {
        const float product = alpha[place_of(i, columns).row] * g[i];
        dw[i] = std::fabs(w[i]) <= 1 ? product : 0.0F;
      });
      return;
    case ops::MagnitudeGradient::paper: {
      const double share = 1 / static_cast<double>(columns);
      for_each(rows * columns, [=] __device__(std::int64_t i) {
        const float a = alpha[place_of(i, columns).row];
        const double passed = std::fabs(w[i]) <= 1 ? static_cast<double>(a) : 0.0;
        dw[i] = static_cast<float>(static_cast<double>(g[i]) * (share + passed));
      });
      return;
    }
    case ops::MagnitudeGradient::chain:
      launch(chain_kernel, a_block_a_row(rows), dim3(256), 0, g, w, alpha, dw, rows, columns);
      return;
  }
}

double dorefa_codes(const float* w, int bits, std::uint8_t* codes, std::int64_t n) {
  const Scratch<float> tanhs(n);
  const Scratch<float> largest(1);
  float* const t = tanhs.data();
  const float* const most = largest.data();
  reduce(
      n, 0.0F,
      [=] __device__(std::int64_t i) {
        t[i] = static_cast<float>(tanh_of(static_cast<double>(w[i])));
        return std::fabs(t[i]);
      },
      Larger{}, largest.data());
  map_to_codes(t, codes, n, [=] __device__(float v) {
    const float range = 2 * (*most > 0 ? *most : 1.0F);
    return unsigned{quantize_code(v / range + 0.5F, bits)};
  });
  const float found = download_value(most);
  return found > 0 ? static_cast<double>(found) : 1;
}

void dorefa_weights_backward(const float* g, const float* w, double maximum, float* dw, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) {
    const double e = std::exp(-2 * magnitude(w[i]));
    dw[i] = static_cast<float>(static_cast<double>(g[i]) * (4 * e / ((1 + e) * (1 + e))) / maximum);
  });
}

void code_planes(const std::uint8_t* codes, int bits, std::uint64_t* planes, std::int64_t rows,
                 std::int64_t columns) {
  std::uint32_t* const reports = report_words();
  const auto code = [=] __device__(std::int64_t row, std::int64_t column) {
    const unsigned value = codes[row * columns + column];
    if (value >> bits != 0) report(reports, Report::code);
    return value;
  };
  const auto pack = [&]<int Planes>(std::integral_constant<int, Planes>) {
    BitPlanes<Planes> to;
    for (int p = 0; p < Planes; ++p) to.data[p] = planes + p * rows * words(columns);
    pack_bits<Planes>(rows, columns, code, to);
  };
  switch (bits) {
    case 1:
      return pack(std::integral_constant<int, 1>{});
    case 2:
      return pack(std::integral_constant<int, 2>{});
    case 3:
      return pack(std::integral_constant<int, 3>{});
    case 4:
      return pack(std::integral_constant<int, 4>{});
    case 5:
      return pack(std::integral_constant<int, 5>{});
    case 6:
      return pack(std::integral_constant<int, 6>{});
    case 7:
      return pack(std::integral_constant<int, 7>{});
    default:
      return pack(std::integral_constant<int, 8>{});
  }
}

void planes_to_float(const std::uint64_t* planes, std::span<const float> coefficients, const float* scale,
                     float* w, std::int64_t rows, std::int64_t columns) {
  with_coefficients(coefficients, [&](const auto& c) { sum_planes(planes, c, scale, w, rows, columns); });
}

template <class T>
void combine_planes(const T* y, std::span<const std::int32_t> coefficients, std::int32_t* sums,
                    std::int64_t rows, std::int64_t channels) {
  with_coefficients(coefficients, [&](const auto& c) { combine(y, c, sums, rows, channels); });
}
template void combine_planes(const std::int16_t*, std::span<const std::int32_t>, std::int32_t*, std::int64_t,
                             std::int64_t);
template void combine_planes(const std::int32_t*, std::span<const std::int32_t>, std::int32_t*, std::int64_t,
                             std::int64_t);

}  // namespace hardbit::cuda
