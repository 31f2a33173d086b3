#pragma once
#include "cuda/kernel.h"
#include "runtime/words.h"

// Rows of bits out of predicates on elements: what every kernel that writes signs or masks is made of. Rows
// of 64-bit words are written as their 32-bit halves, the low one first.

namespace hardbit::cuda {

/// 32-bit halves of a row.
constexpr std::int64_t halves(std::int64_t columns) { return 2 * words(columns); }

/// `each(row, column)` answers in its lowest N bits what the element has in each of N outputs. A warp takes
/// 32 halves, one after another, so that elements are read and halves are written side by side.
template <int N, class F>
__global__ void __launch_bounds__(256) pack_kernel(std::int64_t rows, std::int64_t columns, F each,
                                                   std::uint32_t* first, std::uint32_t* second) {
  const std::int64_t row_halves = halves(columns);
  const std::int64_t count = rows * row_halves;
  const unsigned lane = threadIdx.x % 32;
  const std::int64_t warps = static_cast<std::int64_t>(gridDim.x) * (blockDim.x / 32);
  for (std::int64_t begin = (blockIdx.x * static_cast<std::int64_t>(blockDim.x / 32) + threadIdx.x / 32) * 32;
       begin < count; begin += warps * 32) {
    std::uint32_t mine[N] = {};
    for (unsigned k = 0; k < 32 && begin + k < count; ++k) {
      const Place half = place_of(begin + k, row_halves);
      const std::int64_t column = half.column * 32 + lane;
      const unsigned bits = column < columns ? each(half.row, column) : 0U;
      for (int n = 0; n < N; ++n) {
        const std::uint32_t votes = __ballot_sync(all_lanes, (bits >> n & 1) != 0);
        if (lane == k) mine[n] = votes;
      }
    }
    if (begin + lane < count) {
      first[begin + lane] = mine[0];
      if constexpr (N > 1) second[begin + lane] = mine[1];
    }
  }
}

/// The same by a thread a row, where rows are so short that a warp would be mostly idle.
template <int N, class F>
__global__ void __launch_bounds__(256) pack_short_kernel(std::int64_t rows, std::int64_t columns, F each,
                                                         std::uint64_t* first, std::uint64_t* second) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  std::uint64_t mine[N] = {};
  for (std::int64_t column = 0; column < columns; ++column) {
    const unsigned bits = each(row, column);
    for (int n = 0; n < N; ++n) mine[n] |= static_cast<std::uint64_t>(bits >> n & 1) << column;
  }
  first[row] = mine[0];
  if constexpr (N > 1) second[row] = mine[1];
}

/// Writes rows of words(columns) words, padding bits zero; `second` for N = 2. each(row, column) is a device
/// function that answers an unsigned.
template <int N, class F>
void pack_bits(std::int64_t rows, std::int64_t columns, F each, std::uint64_t* first,
               std::uint64_t* second = nullptr) {
  if (rows == 0 || columns == 0) return;
  if (columns <= 24) {
    launch(pack_short_kernel<N, F>, dim3(static_cast<unsigned>(ceil_div<std::int64_t>(rows, 256))), dim3(256),
           0, rows, columns, each, first, second);
    return;
  }
  constexpr std::int64_t most_blocks = 1 << 20;
  const std::int64_t blocks = ceil_div<std::int64_t>(rows * halves(columns), 256);
  launch(pack_kernel<N, F>, dim3(static_cast<unsigned>(blocks < most_blocks ? blocks : most_blocks)),
         dim3(256), 0, rows, columns, each, reinterpret_cast<std::uint32_t*>(first),
         reinterpret_cast<std::uint32_t*>(second));
}

/// Bit (row, column) of rows of words(columns) words.
__device__ inline bool bit_at(const std::uint64_t* bits, std::int64_t row_words, std::int64_t row,
                              std::int64_t column) {
  return (bits[row * row_words + column / 64] >> (column % 64) & 1) != 0;
}

/// f(row, column, index) for every element of [rows, columns].
template <class F>
struct Element {
  std::int64_t columns;
  F f;
  __device__ void operator()(std::int64_t i) const {
    const Place place = place_of(i, columns);
    f(place.row, place.column, i);
  }
};
template <class F>
void for_each_element(std::int64_t rows, std::int64_t columns, F f) {
  for_each(rows * columns, Element<F>{columns, f});
}

}  // namespace hardbit::cuda
