#pragma once
#include "cuda/kernel.h"

namespace hardbit::cuda {

// Sums down the columns of a row-major [rows, columns] array, in an order that its shape alone decides: fixed
// tiles of rows are summed by blocks, then the tiles' sums.

template <class T, int K>
struct Sums {
  T values[K];
};

/// The sums of all threads of a column (threadIdx.x), added by halves; the threads of threadIdx.y 0 get them.
template <class T, int K>
__device__ inline void add_column(Sums<T, K>& sums, T* shared) {
  const unsigned thread = threadIdx.y * blockDim.x + threadIdx.x;
#pragma unroll
  for (int k = 0; k < K; ++k) {
    shared[thread] = sums.values[k];
    __syncthreads();
    for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
      if (threadIdx.y < half) shared[thread] += shared[thread + half * blockDim.x];
      __syncthreads();
    }
    sums.values[k] = shared[thread];  // by the thread that wrote it, and will write it next
  }
}

/// A block sums one tile (blockIdx.y) of rows of up to 32 columns: threadIdx.x counts columns, threadIdx.y
/// rows of the tile.
template <class T, int K, class Term, class Done>
__global__ void __launch_bounds__(256) column_tiles_kernel(std::int64_t rows, std::int64_t columns,
                                                           std::int64_t tile_rows, Term term, Done done) {
  __shared__ T shared[256];
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const std::int64_t begin = blockIdx.y * tile_rows;
  const std::int64_t end = begin + tile_rows < rows ? begin + tile_rows : rows;
  Sums<T, K> sums{};
  if (column < columns) {
#pragma unroll 4
    for (std::int64_t row = begin + threadIdx.y; row < end; row += blockDim.y) term(row, column, sums.values);
  }
  add_column(sums, shared);
  if (threadIdx.y == 0 && column < columns) done(column, sums.values);
}

/// The same of the tiles' sums, partial [tiles][K][columns], by all rows of threads at once.
template <class T, int K, class Done>
__global__ void __launch_bounds__(256)
    column_totals_kernel(std::int64_t tiles, std::int64_t columns, const T* partial, Done done) {
  __shared__ T shared[256];
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  Sums<T, K> sums{};
  if (column < columns) {
#pragma unroll 4
    for (std::int64_t tile = threadIdx.y; tile < tiles; tile += blockDim.y) {
#pragma unroll
      for (int k = 0; k < K; ++k) sums.values[k] += partial[(tile * K + k) * columns + column];
    }
  }
  add_column(sums, shared);
  if (threadIdx.y == 0 && column < columns) done(column, sums.values);
}

template <class T, int K>
struct StoreTile {
  std::int64_t columns;
  T* partial;
  __device__ void operator()(std::int64_t column, const T* sums) const {
#pragma unroll
    for (int k = 0; k < K; ++k) {
      partial[(static_cast<std::int64_t>(blockIdx.y) * K + k) * columns + column] = sums[k];
    }
  }
};

/// `term(row, column, T* sums)` adds an element to K sums; `finish(column, const T* sums)` runs once a
/// column. Both are device functions.
template <class T, int K, class Term, class Finish>
void column_sums(std::int64_t rows, std::int64_t columns, Term term, Finish finish) {
  unsigned width = 1;
  while (width < 32 && width < columns) width *= 2;
  const dim3 block(width, 256 / width);
  const std::int64_t groups = ceil_div<std::int64_t>(columns, width);
  if (groups == 0) return;
  // Blocks enough to fill a large GPU twice, of 16 rows a thread or more.
  const std::int64_t most_tiles = ceil_div<std::int64_t>(2048, groups);
  const std::int64_t least_rows = 16 * block.y;
  const std::int64_t even_rows = ceil_div(rows, most_tiles);
  const std::int64_t tile_rows = even_rows > least_rows ? even_rows : least_rows;
  const std::int64_t tiles = ceil_div(rows, tile_rows);
  if (tiles <= 1) {
    launch(column_tiles_kernel<T, K, Term, Finish>, dim3(static_cast<unsigned>(groups)), block, 0, rows,
           columns, tile_rows, term, finish);
    return;
  }
  const Scratch<T> partial(tiles * K * columns);
  launch(column_tiles_kernel<T, K, Term, StoreTile<T, K>>,
         dim3(static_cast<unsigned>(groups), static_cast<unsigned>(tiles)), block, 0, rows, columns,
         tile_rows, term, StoreTile<T, K>{columns, partial.data()});
  launch(column_totals_kernel<T, K, Finish>, dim3(static_cast<unsigned>(ceil_div<std::int64_t>(columns, 4))),
         dim3(4, 64), 0, tiles, columns, partial.data(), finish);
}

}  // namespace hardbit::cuda
