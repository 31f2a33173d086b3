#pragma once
#include "cuda/row_vectors.h"

namespace hardbit::cuda {

// Sums down the columns of a row-major [rows, columns] array, in an order that its shape alone decides: each
// thread sums rows of its own, blocks add their threads' sums by halves, then the blocks' sums are added.

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

/// What a block of row_vectors.h sums. It begins with the last rows: whoever wrote them did so last, and
/// whoever reads the array next begins with the first ones, so that some of both are found in the cache.
template <class F, class Done>
__global__ void __launch_bounds__(256, F::together > 1 ? 4 : 1)
    column_blocks_kernel(std::int64_t rows, unsigned vectors, F f, Done done) {
  using T = typename F::Sum;
  constexpr int v = F::width;
  constexpr int k = F::sums;
  constexpr int values = v * k;
  __shared__ T shared[values * 256];
  const unsigned vector = blockIdx.x * blockDim.x + threadIdx.x;
  T sums[values] = {};  // [v][k]
  if (vector < vectors) {
    const auto channels = f.channels(vector);
    go_down_rows<F::together, true>(rows, vectors, vector, [&](auto count, auto place) {
      constexpr int n = decltype(count)::value;
      typename F::Input inputs[n];
#pragma unroll
      for (int i = 0; i < n; ++i) inputs[i] = f.load(place(i));
#pragma unroll
      for (int i = 0; i < n; ++i) f.add(inputs[i], channels, sums);
    });
  }
  T* const mine = shared + threadIdx.y * blockDim.x + threadIdx.x;
#pragma unroll
  for (int i = 0; i < values; ++i) mine[i * 256] = sums[i];
  __syncthreads();
  for (unsigned left = blockDim.y; left > 1;) {
    const unsigned half = (left + 1) / 2;
    if (threadIdx.y + half < left) {
#pragma unroll
      for (int i = 0; i < values; ++i) mine[i * 256] += mine[i * 256 + half * blockDim.x];
    }
    __syncthreads();
    left = half;
  }
  if (threadIdx.y != 0 || vector >= vectors) return;
#pragma unroll
  for (int c = 0; c < v; ++c) {
    T total[k];
#pragma unroll
    for (int i = 0; i < k; ++i) total[i] = mine[(c * k + i) * 256];
    done(std::int64_t{vector} * v + c, total);
  }
}

/// The same of the blocks' sums, partial [blocks][K][columns], by all rows of threads at once.
template <class T, int K, class Done>
__global__ void __launch_bounds__(256)
    column_totals_kernel(std::int64_t blocks, std::int64_t columns, const T* partial, Done done) {
  __shared__ T shared[256];
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  Sums<T, K> sums{};
  if (column < columns) {
#pragma unroll 4
    for (std::int64_t block = threadIdx.y; block < blocks; block += blockDim.y) {
#pragma unroll
      for (int k = 0; k < K; ++k) sums.values[k] += partial[(block * K + k) * columns + column];
    }
  }
  add_column(sums, shared);
  if (threadIdx.y == 0 && column < columns) done(column, sums.values);
}

template <class T, int K>
struct StoreBlock {
  std::int64_t columns;
  T* partial;
  __device__ void operator()(std::int64_t column, const T* sums) const {
#pragma unroll
    for (int k = 0; k < K; ++k) {
      partial[(static_cast<std::int64_t>(blockIdx.y) * K + k) * columns + column] = sums[k];
    }
  }
};

/// Sums F::sums numbers of type F::Sum a column of rows of columns / F::width vectors: f.load(RowVector) and
/// f.channels(vector) as in for_row_vectors, then f.add(input, channels, F::Sum* sums) adds to the sums of
/// the vector's columns, [width][sums]. `finish(column, const F::Sum* sums)`, a device function, runs once a
/// column.
template <class F, class Finish>
void column_sums(std::int64_t rows, std::int64_t columns, const F& f, Finish finish) {
  using T = typename F::Sum;
  constexpr int k = F::sums;
  if (columns == 0) return;
  const std::int64_t vectors = columns / F::width;
  // As many blocks as a large GPU runs at once, four a multiprocessor.
  const RowBlocks blocks(rows > 0 ? rows : 1, vectors, 2 * F::together, 512);
  if (blocks.grid.y <= 1) {
    launch(column_blocks_kernel<F, Finish>, blocks.grid, blocks.block, 0, rows,
           static_cast<unsigned>(vectors), f, finish);
    return;
  }
  const Scratch<T> partial(blocks.grid.y * k * columns);
  launch(column_blocks_kernel<F, StoreBlock<T, k>>, blocks.grid, blocks.block, 0, rows,
         static_cast<unsigned>(vectors), f, StoreBlock<T, k>{columns, partial.data()});
  launch(column_totals_kernel<T, k, Finish>, dim3(static_cast<unsigned>(ceil_div<std::int64_t>(columns, 4))),
         dim3(4, 64), 0, std::int64_t{blocks.grid.y}, columns, partial.data(), finish);
}

}  // namespace hardbit::cuda
