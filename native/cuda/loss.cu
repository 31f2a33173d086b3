#include <cmath>

#include "cuda/kernel.h"
#include "cuda/loss.h"

// A warp works on a row.

namespace hardbit::cuda {
namespace {

constexpr unsigned warps = 8;

/// The largest of a row; the first among equals, a NaN never, 0 where all are NaN. On all lanes.
__device__ unsigned largest(const float* row, unsigned classes) {
  constexpr unsigned none = ~0U;
  unsigned best = none;
  float most = 0;
  for (unsigned c = threadIdx.x % 32; c < classes; c += 32) {
    const float v = row[c];
    if (v == v && (best == none || v > most)) {
      best = c;
      most = v;
    }
  }
  for (int step = 16; step > 0; step /= 2) {
    const unsigned other = __shfl_xor_sync(all_lanes, best, step);
    const float v = __shfl_xor_sync(all_lanes, most, step);
    if (other != none && (best == none || v > most || (v == most && other < best))) {
      best = other;
      most = v;
    }
  }
  return best == none ? 0 : best;
}

__device__ double warp_sum(double value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(all_lanes, value, step);
  return value;
}

__global__ void __launch_bounds__(256)
    cross_entropy_kernel(const float* logits, const std::int32_t* labels, double scale, float* losses,
                         float* gradient, std::int64_t rows, unsigned classes, std::uint32_t* reports) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * warps + threadIdx.x / 32;
  if (row >= rows) return;
  const unsigned lane = threadIdx.x % 32;
  const float* const z = logits + row * classes;
  float* const g = gradient + row * classes;
  auto label = static_cast<unsigned>(labels[row]);
  if (label >= classes) {
    if (lane == 0) report(reports, Report::label);
    label = 0;
  }
  const unsigned top = largest(z, classes);
  const auto most = static_cast<double>(z[top]);
  // Σ exp(z_j − most) = 1 + others. On confident rows `others` is tiny and must not be rounded away by the 1.
  double others = 0;
  double not_label = 0;
  for (unsigned c = lane; c < classes; c += 32) {
    const double e = std::exp(static_cast<double>(z[c]) - most);
    if (c != top) others += e;
    if (c != label) not_label += e;
  }
  others = warp_sum(others);
  not_label = warp_sum(not_label);
  const double factor = scale / (1 + others);
  for (unsigned c = lane; c < classes; c += 32) {
    g[c] = c == label ? static_cast<float>(-factor * not_label)
                      : static_cast<float>(factor * std::exp(static_cast<double>(z[c]) - most));
  }
  if (lane == 0)
    losses[row] = static_cast<float>((most - static_cast<double>(z[label])) + std::log1p(others));
}

__global__ void __launch_bounds__(256)
    argmax_kernel(const float* logits, std::int32_t* indices, std::int64_t rows, unsigned classes) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * warps + threadIdx.x / 32;
  if (row >= rows) return;
  const unsigned best = largest(logits + row * classes, classes);
  if (threadIdx.x % 32 == 0) indices[row] = static_cast<std::int32_t>(best);
}

dim3 grid_of(std::int64_t rows) { return dim3(static_cast<unsigned>(ceil_div<std::int64_t>(rows, warps))); }

}  // namespace

void softmax_cross_entropy(const float* logits, const std::int32_t* labels, float gradient_scale,
                           float* losses, float* gradient, std::int64_t rows, std::int64_t classes) {
  launch(cross_entropy_kernel, grid_of(rows), dim3(32 * warps), 0, logits, labels,
         static_cast<double>(gradient_scale), losses, gradient, rows, classes, report_words());
}

void argmax(const float* logits, std::int32_t* indices, std::int64_t rows, std::int64_t classes) {
  launch(argmax_kernel, grid_of(rows), dim3(32 * warps), 0, logits, indices, rows, classes);
}

}  // namespace hardbit::cuda
