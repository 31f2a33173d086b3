#pragma once
#include "cuda/kernel.h"

namespace hardbit::cuda {

// Sums down the columns of a row-major [rows, columns] array, in an order that its shape alone decides: fixed
// tiles of rows are summed by blocks, the tiles' sums from top to bottom.

template <class T, int K>
struct Sums {
  T values[K];
};

/// A block sums one tile of rows of up to 32 columns: threadIdx.x counts columns, threadIdx.y rows of the
/// tile. partial [tiles][K][columns].
template <class T, int K, class Term>
__global__ void __launch_bounds__(256) column_tiles_kernel(std::int64_t rows, std::int64_t columns,
                                                           std::int64_t tile_rows, Term term, T* partial) {
  __shared__ T shared[256];
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  const std::int64_t begin = blockIdx.x * tile_rows;
  const std::int64_t end = begin + tile_rows < rows ? begin + tile_rows : rows;
  Sums<T, K> sums{};
  if (column < columns) {
    for (std::int64_t row = begin + threadIdx.y; row < end; row += blockDim.y) term(row, column, sums.values);
  }
  const unsigned thread = threadIdx.y * blockDim.x + threadIdx.x;
  for (int k = 0; k < K; ++k) {
    shared[thread] = sums.values[k];
    __syncthreads();
    for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
      if (threadIdx.y < half) shared[thread] += shared[thread + half * blockDim.x];
      __syncthreads();
    }
    if (threadIdx.y == 0 && column < columns)
      partial[(blockIdx.x * K + k) * columns + column] = shared[thread];
    __syncthreads();
  }
}

template <class T, int K, class Finish>
struct ColumnTotals {
  std::int64_t tiles, columns;
  const T* partial;
  Finish finish;
  __device__ void operator()(std::int64_t column) const {
    Sums<T, K> total{};
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      for (int k = 0; k < K; ++k) total.values[k] += partial[(tile * K + k) * columns + column];
    }
    finish(column, total.values);
  }
};

/// `term(row, column, T* sums)` adds an element to K sums; `finish(column, const T* sums)` runs once a
/// column. Both are device functions.
template <class T, int K, class Term, class Finish>
void column_sums(std::int64_t rows, std::int64_t columns, Term term, Finish finish) {
  if (columns == 0) return;
  unsigned width = 1;
  while (width < 32 && width < columns) width *= 2;
  constexpr std::int64_t most_tiles = 1024;
  const std::int64_t least_rows = 256 / width * 16;
  const std::int64_t tile_rows =
      least_rows > ceil_div(rows, most_tiles) ? least_rows : ceil_div(rows, most_tiles);
  const std::int64_t tiles = ceil_div(rows, tile_rows);
  const Scratch<T> partial(tiles * K * columns);
  T* const sums = partial.data();
  launch(column_tiles_kernel<T, K, Term>,
         dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(ceil_div<std::int64_t>(columns, width))),
         dim3(width, 256 / width), 0, rows, columns, tile_rows, term, sums);
  for_each(columns, ColumnTotals<T, K, Finish>{tiles, columns, sums, finish});
}

}  // namespace hardbit::cuda
