#include <cmath>

#include "cuda/attack.h"
#include "cuda/kernel.h"

// A block works on a row. Norms are summed in double, thread by thread and then by halves: the order depends
// on the row's length alone.

namespace hardbit::cuda {
namespace {

/// ‖v‖₂ for v(i), i below n, on all threads of the block.
template <class Value>
__device__ double norm(std::int64_t n, Value value, double* shared) {
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < n; i += 256) {
    const double v = value(i);
    sum += v * v;
  }
  sum = reduce_block(sum, Plus(), shared);
  __syncthreads();  // everybody has read the sum before the next one overwrites it
  return std::sqrt(sum);
}

__device__ inline float into_unit(float v) {
  const float above = v < 0.0F ? 0.0F : v;
  return above > 1.0F ? 1.0F : above;
}

/// The fp32 number nearest to origin + d.
__device__ inline float nearest(float origin, double d) {
  return static_cast<float>(static_cast<double>(origin) + d);
}

/// The same, or its neighbour towards origin where it lies farther than |d| away.
__device__ inline float towards(float origin, double d) {
  const float v = nearest(origin, d);
  const bool beyond = std::fabs(static_cast<double>(v) - static_cast<double>(origin)) > std::fabs(d);
  return beyond ? nextafterf(v, origin) : v;
}

/// Uniform in (0, 1].
__device__ inline double open_unit(std::uint32_t word) { return (static_cast<double>(word) + 1) * 0x1p-32; }

__global__ void __launch_bounds__(256)
    step_kernel(const float* x, const float* gradient, const float* origin, double step_size, double epsilon,
                float* y, std::int64_t columns) {
  __shared__ double shared[256];
  const std::int64_t first = blockIdx.x * columns;
  const float* const from = x + first;
  const float* const g = gradient + first;
  const float* const center = origin + first;
  float* const out = y + first;
  const double length = norm(
      columns, [=](std::int64_t i) { return static_cast<double>(g[i]); }, shared);
  const bool moves = length > 0 && length <= 1.7976931348623157e308;
  const double factor = moves ? step_size / length : 0;
  const auto moved = [=](std::int64_t i) {
    const double step = moves ? factor * static_cast<double>(g[i]) : 0;
    return static_cast<double>(from[i]) - static_cast<double>(center[i]) + step;
  };
  const double reached = norm(columns, moved, shared);
  const double shrink = reached > epsilon ? epsilon / reached : 1;
  for (std::int64_t i = threadIdx.x; i < columns; i += 256)
    out[i] = into_unit(nearest(center[i], moved(i) * shrink));
  const double distance = norm(
      columns, [=](std::int64_t i) { return static_cast<double>(out[i]) - static_cast<double>(center[i]); },
      shared);
  if (distance > epsilon) {
    for (std::int64_t i = threadIdx.x; i < columns; i += 256) {
      out[i] = into_unit(towards(center[i], moved(i) * shrink));
    }
  }
}

__global__ void __launch_bounds__(256)
    start_kernel(const float* origin, double epsilon, Philox philox, std::uint32_t stream,
                 std::uint64_t first_row, float* y, std::int64_t columns) {
  __shared__ double shared[256];
  const std::int64_t first = blockIdx.x * columns;
  const std::uint64_t number = first_row + blockIdx.x;
  float* const out = y + first;
  for (std::int64_t c = 4 * static_cast<std::int64_t>(threadIdx.x); c < columns; c += 1024) {
    const Philox::Block words = philox.row_block(static_cast<std::uint32_t>(c / 4 + 1), number, stream);
    for (int k = 0; k < 4; k += 2) {  // Box & Muller 1958
      const double radius = std::sqrt(-2 * std::log(open_unit(words[static_cast<std::size_t>(k)])));
      const double angle = 2 * 3.14159265358979323846 * open_unit(words[static_cast<std::size_t>(k + 1)]);
      if (c + k < columns) out[c + k] = static_cast<float>(radius * std::cos(angle));
      if (c + k + 1 < columns) out[c + k + 1] = static_cast<float>(radius * std::sin(angle));
    }
  }
  __syncthreads();
  const double length = norm(
      columns, [=](std::int64_t i) { return static_cast<double>(out[i]); }, shared);
  const double u = open_unit(philox.row_block(0, number, stream)[0]);
  const double radius = epsilon * std::pow(u, 1 / static_cast<double>(columns));
  const double factor = length > 0 ? radius / length : 0;
  for (std::int64_t i = threadIdx.x; i < columns; i += 256) {
    out[i] = into_unit(towards(origin[first + i], factor * static_cast<double>(out[i])));
  }
}

__global__ void __launch_bounds__(256)
    distances_kernel(const float* a, const float* b, float* distances, std::int64_t columns) {
  __shared__ double shared[256];
  const std::int64_t first = blockIdx.x * columns;
  const double distance = norm(
      columns,
      [=](std::int64_t i) { return static_cast<double>(a[first + i]) - static_cast<double>(b[first + i]); },
      shared);
  if (threadIdx.x == 0) distances[blockIdx.x] = static_cast<float>(distance);
}

}  // namespace

void attack_step_l2(const float* x, const float* gradient, const float* origin, double step_size,
                    double epsilon, float* y, std::int64_t rows, std::int64_t columns) {
  launch(step_kernel, dim3(static_cast<unsigned>(rows)), dim3(256), 0, x, gradient, origin, step_size,
         epsilon, y, columns);
}

void attack_uniform_start_l2(const float* origin, double epsilon, const Philox& philox, std::uint32_t stream,
                             std::uint64_t first_row, float* y, std::int64_t rows, std::int64_t columns) {
  launch(start_kernel, dim3(static_cast<unsigned>(rows)), dim3(256), 0, origin, epsilon, philox, stream,
         first_row, y, columns);
}

void row_distances(const float* a, const float* b, float* distances, std::int64_t rows,
                   std::int64_t columns) {
  launch(distances_kernel, dim3(static_cast<unsigned>(rows)), dim3(256), 0, a, b, distances, columns);
}

}  // namespace hardbit::cuda
