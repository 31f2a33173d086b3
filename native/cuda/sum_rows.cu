#include "cuda/column_sums.h"
#include "cuda/dense.h"

namespace hardbit::cuda {
namespace {

template <int V>
struct RowSums {
  using Sum = double;
  using Input = Vector<float, V>;
  struct Channels {};
  static constexpr int width = V;
  static constexpr int sums = 1;
  static constexpr int together = 4;
  const float* x;
  bool aligned;

  __device__ Channels channels(unsigned) const { return {}; }
  __device__ Input load(const RowVector& at) const {
    if (aligned) return vectors_of<V>(x)[at.index];
    Input input;
#pragma unroll
    for (int v = 0; v < V; ++v) input.at[v] = x[at.index * V + v];
    return input;
  }
  __device__ void add(const Input& input, Channels, double* to) const {
#pragma unroll
    for (int v = 0; v < V; ++v) to[v] += static_cast<double>(input.at[v]);
  }
};

template <int V>
void add_rows(const float* x, float* sums, std::int64_t rows, std::int64_t columns) {
  column_sums(rows, columns, RowSums<V>{x, aligned(x, sizeof(Vector<float, V>))},
              [=] __device__(std::int64_t c, const double* sum) { sums[c] = static_cast<float>(*sum); });
}

}  // namespace

void sum_rows(const float* x, float* sums, std::int64_t rows, std::int64_t columns) {
  // The order of sums hangs on the shape, not on where x begins.
  if (columns % 4 == 0) {
    add_rows<4>(x, sums, rows, columns);
  } else {
    add_rows<1>(x, sums, rows, columns);
  }
}

}  // namespace hardbit::cuda
