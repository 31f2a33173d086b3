#pragma once
// Rows of bits out of predicates on elements, and elements out of bits: what every kernel that writes or
// reads signs or masks is made of. Rows of 64-bit words are written and read as their 32-bit halves, the low
// one first.

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "cuda/row_vectors.h"
#include "runtime/words.h"

namespace hardbit::cuda {

/// Where rows of bits go, one address a plane.
template <int Planes>
struct BitPlanes {
  std::uint64_t* data[Planes];
};

/// A warp makes eight halves of words, one by a vote of its lanes each, and stores these 32 bytes at once: in
/// memory the halves of all rows lie side by side.
template <int Planes, class F>
__global__ void __launch_bounds__(256)
    pack_kernel(std::int64_t rows, std::int64_t columns, F each, BitPlanes<Planes> planes) {
  constexpr int together = 8;
  const unsigned lane = threadIdx.x % 32;
  const std::int64_t row_halves = 2 * words(columns);
  const std::int64_t halves = rows * row_halves;
  const std::int64_t warp = static_cast<std::int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  const std::int64_t warps = static_cast<std::int64_t>(gridDim.x) * (blockDim.x / 32);
  for (std::int64_t first = warp * together; first < halves; first += warps * together) {
    Place at = place_of(first, row_halves);
    unsigned bits[together];
#pragma unroll
    for (int k = 0; k < together; ++k) {
      const std::int64_t column = at.column * 32 + lane;
      bits[k] = at.row < rows && column < columns ? each(at.row, column) : 0;
      if (++at.column == row_halves) at = {at.row + 1, 0};
    }
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
      unsigned mine = 0;
#pragma unroll
      for (int k = 0; k < together; ++k) {
        const unsigned votes = __ballot_sync(all_lanes, (bits[k] >> p & 1) != 0);
        if (lane == static_cast<unsigned>(k)) mine = votes;
      }
      if (lane < together && first + lane < halves) {
        reinterpret_cast<std::uint32_t*>(planes.data[p])[first + lane] = mine;
      }
    }
  }
}

/// Rows of at most 32 columns, each one word. A warp makes 32 of them: their elements lie side by side, and
/// so do the bits of as many votes as there are columns; then every lane cuts its row out of them.
template <int Planes, class F>
__global__ void __launch_bounds__(256)
    pack_short_kernel(std::int64_t rows, int columns, F each, BitPlanes<Planes> planes) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const std::int64_t warp = static_cast<std::int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  const std::int64_t warps = static_cast<std::int64_t>(gridDim.x) * (blockDim.x / 32);
  for (std::int64_t first = warp * 32; first < rows; first += warps * 32) {
    const int count = (rows - first < 32 ? static_cast<int>(rows - first) : 32) * columns;
    unsigned votes[Planes] = {};  // lane v holds vote v
    for (int v = 0; v < columns; ++v) {
      const int i = v * 32 + lane;
      const unsigned bits = i < count ? each(first + i / columns, std::int64_t{i % columns}) : 0;
#pragma unroll
      for (int p = 0; p < Planes; ++p) {
        const unsigned vote = __ballot_sync(all_lanes, (bits >> p & 1) != 0);
        if (lane == v) votes[p] = vote;
      }
    }
    const int begin = lane * columns;
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
      const unsigned low = __shfl_sync(all_lanes, votes[p], begin / 32);
      const unsigned high = __shfl_sync(all_lanes, votes[p], (begin / 32 + 1) % 32);
      const unsigned row = __funnelshift_r(low, high, static_cast<unsigned>(begin % 32));
      if (first + lane < rows) planes.data[p][first + lane] = row & (all_lanes >> (32 - columns));
    }
  }
}

/// Bit (row, column) of plane p ← bit p of each(row, column), a device function that answers an unsigned and
/// is called once an element. Padding bits are written as zeros.
template <int Planes, class F>
void pack_bits(std::int64_t rows, std::int64_t columns, F each, const BitPlanes<Planes>& planes) {
  if (columns == 0) return;
  constexpr std::int64_t most_blocks = 1 << 20;
  const auto grid = [](std::int64_t blocks) {
    return dim3(static_cast<unsigned>(blocks < most_blocks ? blocks : most_blocks));
  };
  if (columns <= 32) {
    launch(pack_short_kernel<Planes, F>, grid(ceil_div<std::int64_t>(rows, 256)), dim3(256), 0, rows,
           static_cast<int>(columns), each, planes);
  } else {
    launch(pack_kernel<Planes, F>, grid(ceil_div<std::int64_t>(rows * 2 * words(columns), 64)), dim3(256), 0,
           rows, columns, each, planes);
  }
}
template <int Planes, class F>
void pack_bits(std::int64_t rows, std::int64_t columns, F each, std::uint64_t* first,
               std::uint64_t* second = nullptr) {
  static_assert(Planes <= 2);
  if constexpr (Planes == 1) {
    static_cast<void>(second);
    pack_bits<1>(rows, columns, each, BitPlanes<1>{{first}});
  } else {
    pack_bits<2>(rows, columns, each, BitPlanes<2>{{first, second}});
  }
}

/// Eight elements of a row are a byte of each plane; the last bytes of a row may be padding.
template <int Planes, class T, class F>
struct PackBytes {
  using Input = Vector<T, 8>;
  static constexpr int together = 8 / static_cast<int>(sizeof(T));
  const T* x;
  unsigned vectors;  // of a row of x
  F f;
  std::uint8_t* planes[Planes];

  // Threads of padding work on the last elements.
  __device__ unsigned there(unsigned vector) const { return vector < vectors ? vector : vectors - 1; }
  __device__ auto channels(unsigned vector) const { return f.template channels<8>(there(vector)); }
  __device__ Input load(const RowVector& at) const {
    return vectors_of<8>(x)[at.row * vectors + there(at.vector)];
  }
  template <class Channels>
  __device__ void store(const RowVector& at, const Input& input, const Channels& channels) const {
    unsigned bytes[Planes] = {};
#pragma unroll
    for (int v = 0; v < 8; ++v) {
      const unsigned bits = f(input.at[v], channels.at[v]);
#pragma unroll
      for (int p = 0; p < Planes; ++p) bytes[p] |= (bits >> p & 1) << v;
    }
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
      planes[p][at.index] = static_cast<std::uint8_t>(at.vector < vectors ? bytes[p] : 0);
    }
  }
};

/// Bits of rows of elements: bit (row, column) of plane p ← bit p of f(x, f.channels<1>(column).at[0]), an
/// unsigned; f.channels<V>(vector) is what f has to know of V columns, an OfVector.
template <int Planes, class T, class F>
void pack_elements(const T* x, std::int64_t rows, std::int64_t columns, const F& f, std::uint64_t* first,
                   std::uint64_t* second = nullptr) {
  static_assert(Planes <= 2);
  // Of fewer columns most bytes are padding.
  if (columns % 8 == 0 && columns >= 32 && aligned(x, 16)) {
    PackBytes<Planes, T, F> bytes{x, static_cast<unsigned>(columns / 8), f, {}};
    std::uint64_t* const planes[] = {first, second};
    for (int p = 0; p < Planes; ++p) bytes.planes[p] = reinterpret_cast<std::uint8_t*>(planes[p]);
    for_row_vectors(rows, 8 * words(columns), bytes);
    return;
  }
  using Channel = std::remove_reference_t<decltype(f.template channels<1>(0).at[0])>;
  if constexpr (std::is_empty_v<Channel>) {
    pack_bits<Planes>(
        rows, columns,
        [=] __device__(std::int64_t row, std::int64_t column) {
          return f(x[row * columns + column], Channel());
        },
        first, second);
  } else {
    // Found once, not by every thread.
    const Scratch<Channel> scratch(columns);
    Channel* const channels = scratch.data();
    for_each(columns, [=] __device__(std::int64_t column) {
      channels[column] = f.template channels<1>(static_cast<unsigned>(column)).at[0];
    });
    pack_bits<Planes>(
        rows, columns,
        [=] __device__(std::int64_t row, std::int64_t column) {
          return f(x[row * columns + column], channels[column]);
        },
        first, second);
  }
}

/// y[r·columns + c] ← f(x[r·columns + c], bit c of row r); x may be null, and is 0 then.
template <class F>
void map_bits(const float* x, const std::uint64_t* bits, float* y, std::int64_t rows, std::int64_t columns,
              F f) {
  const auto* const halves = reinterpret_cast<const std::uint32_t*>(bits);
  const std::int64_t row_halves = 2 * words(columns);
  if (columns % 4 == 0 && aligned(x, 16) && aligned(y, 16)) {
    const std::int64_t quads = columns / 4;
    const auto* const from = reinterpret_cast<const float4*>(x);
    auto* const to = reinterpret_cast<float4*>(y);
    for_each(rows * quads, [=] __device__(std::int64_t i) {
      const Place at = place_of(i, quads);
      const unsigned four = halves[at.row * row_halves + at.column / 8] >> (at.column % 8 * 4);
      const float4 v = from == nullptr ? make_float4(0, 0, 0, 0) : from[i];
      to[i] = make_float4(f(v.x, (four & 1) != 0), f(v.y, (four & 2) != 0), f(v.z, (four & 4) != 0),
                          f(v.w, (four & 8) != 0));
    });
    return;
  }
  for_each(rows * columns, [=] __device__(std::int64_t i) {
    const Place at = place_of(i, columns);
    const unsigned bit = halves[at.row * row_halves + at.column / 32] >> (at.column % 32) & 1;
    y[i] = f(x == nullptr ? 0.0F : x[i], bit != 0);
  });
}

/// Bit 0: the sign of v; bit 1: |v| ≤ 1.
__device__ inline unsigned sign_and_mask(float v) {
  return (v >= 0.0F ? 1U : 0U) | (std::fabs(v) <= 1.0F ? 2U : 0U);
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
