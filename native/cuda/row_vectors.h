#pragma once
// Passes over rows of channels in which a thread keeps to V neighbouring channels and goes down the rows:
// what it knows of its channels stays in registers, one access takes all V, and several rows are under way at
// once.

#include <cstdint>
#include <type_traits>

#include "cuda/vectors.h"

namespace hardbit::cuda {

/// What is known of each channel of a vector, where that is more than a number.
template <class C, int V>
struct OfVector {
  C at[V];
};

/// The numbers of the channels of a vector, which may begin anywhere.
template <int V>
__device__ inline Vector<float, V> channel_values(const float* x, unsigned vector) {
  Vector<float, V> values;
  if (V % 4 == 0 && reinterpret_cast<std::uintptr_t>(x) % 16 == 0) {
#pragma unroll
    for (int v = 0; v < V; v += 4) {
      const Vector<float, 4> four = vectors_of<4>(x + std::int64_t{vector} * V)[v / 4];
#pragma unroll
      for (int i = 0; i < 4 && v + i < V; ++i) values.at[v + i] = four.at[i];
    }
  } else {
#pragma unroll
    for (int v = 0; v < V; ++v) values.at[v] = x[std::int64_t{vector} * V + v];
  }
  return values;
}

/// Vector number `vector` of a row, which is number `index` of them all.
struct RowVector {
  std::int64_t row, index;
  unsigned vector;
};

/// How rows of `vectors` vectors are dealt out: blockIdx.x and threadIdx.x count vectors, the others rows. A
/// block has `together` rows a thread under way, which lie side by side, then goes on behind those of all
/// blocks. The shape alone decides.
struct RowBlocks {
  dim3 grid, block;

  RowBlocks(std::int64_t rows, std::int64_t vectors, int together, std::int64_t most_blocks) {
    const std::int64_t groups = ceil_div<std::int64_t>(vectors, 256);
    if (rows == 0 || groups == 0) {
      grid.x = 0;
      return;
    }
    block.x = static_cast<unsigned>(ceil_div(vectors, groups));
    block.y = 256 / block.x;
    const std::int64_t most = ceil_div(most_blocks, groups);
    const std::int64_t tiles = ceil_div<std::int64_t>(rows, std::int64_t{block.y} * together);
    grid.x = static_cast<unsigned>(groups);
    grid.y = static_cast<unsigned>(tiles < most ? tiles : most);
  }
};

/// Takes this thread through its rows, by R at once and the last ones one by one: f(n, place), where n is R
/// or 1 as a type and place(k), k below n, is a RowVector. `Backwards` counts rows from the last one.
template <int R, bool Backwards, class F>
__device__ inline void go_down_rows(std::int64_t rows, unsigned vectors, unsigned vector, F f) {
  const std::int64_t apart = blockDim.y;
  const std::int64_t stride = apart * R * gridDim.y;
  const auto place = [=](std::int64_t row) {
    const std::int64_t at = Backwards ? rows - 1 - row : row;
    return RowVector{at, at * vectors + vector, vector};
  };
  std::int64_t row = apart * R * blockIdx.y + threadIdx.y;
  for (; row + (R - 1) * apart < rows; row += stride) {
    f(std::integral_constant<int, R>(), [=](int k) { return place(row + k * apart); });
  }
  if constexpr (R > 1) {
    for (; row < rows; row += apart) {
      f(std::integral_constant<int, 1>(), [=](int) { return place(row); });
    }
  }
}

template <class F>
__global__ void __launch_bounds__(256) row_vectors_kernel(std::int64_t rows, unsigned vectors, F f) {
  const unsigned vector = blockIdx.x * blockDim.x + threadIdx.x;
  if (vector >= vectors) return;
  const auto channels = f.channels(vector);
  go_down_rows<F::together, false>(rows, vectors, vector, [&](auto count, auto place) {
    constexpr int n = decltype(count)::value;
    typename F::Input inputs[n];
#pragma unroll
    for (int k = 0; k < n; ++k) inputs[k] = f.load(place(k));
#pragma unroll
    for (int k = 0; k < n; ++k) f.store(place(k), inputs[k], channels);
  });
}

/// For every vector of every row: f.store(at, f.load(at), f.channels(at.vector)). Where there are rows
/// enough, F::together of them are loaded before the first is stored, and channels() is called once for many.
template <class F>
void for_row_vectors(std::int64_t rows, std::int64_t vectors, const F& f) {
  const RowBlocks blocks(rows, vectors, F::together, 4096);
  launch(row_vectors_kernel<F>, blocks.grid, blocks.block, 0, rows, static_cast<unsigned>(vectors), f);
}

}  // namespace hardbit::cuda
