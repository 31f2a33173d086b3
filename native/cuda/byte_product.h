#pragma once
#include <cstdint>

#include "cuda/byte_gradient.h"
#include "cuda/kernel.h"
#include "cuda/mma.h"
#include "cuda/runtime.h"
#include "ops/conv2d.h"
#include "ops/gradient_rounding.h"

// dy becomes bytes q in a pass over it for the largest magnitudes and one for the rounding. Both products of
// bytes go through one loop over tiles in shared memory (accumulate()):
//  - dx[place][c] = Σ q[place moved by the tap][m]·w[c][tap][m]. Both operands are contiguous along the sum.
//  - dw[tap, c][m] = Σ x[pixel moved by the tap][c]·q[pixel][m]. Neither is; the words of four pixels are
//    turned into words along the sum as they come from shared memory.
// Channels of a group are padded to `segment` bytes, the unit of copies, in all operands.

namespace hardbit::cuda {

constexpr int segment = 16;

constexpr std::int64_t padded_to_segments(std::int64_t channels) {
  return ceil_div<std::int64_t>(channels, segment) * segment;
}

struct Division {
  std::int64_t quotient, remainder;
};
/// Of a ≥ 0; 64-bit division is a function call of a hundred instructions.
__device__ inline Division divide(std::int64_t a, std::int64_t b) {
  if (((a | b) >> 32) == 0) {
    const auto x = static_cast<std::uint32_t>(a);
    const auto y = static_cast<std::uint32_t>(b);
    return {x / y, x % y};
  }
  return {a / b, a % b};
}

/// dy as bytes q [n·oh·ow][groups][padded], rounded to ±levels; padding is zeros.
class RoundedOutputs {
 public:
  /// One scale a sample, else one a channel; `factors` of channels, which come first, may be null.
  RoundedOutputs(const ops::Conv2d& conv, const OutputGradient& dy, bool by_sample, const float* factors,
                 int levels, const Draws& draws);
  /// Of a group.
  std::int64_t outputs() const { return outputs_; }
  std::int64_t padded() const { return padded_; }
  std::int64_t pixel_bytes() const { return pixel_bytes_; }
  const std::uint8_t* data() const { return bytes_.data(); }
  /// Of samples or channels.
  const ops::Rounding* roundings() const { return roundings_.data(); }

 private:
  std::int64_t outputs_, padded_, pixel_bytes_;
  Scratch<ops::Rounding> roundings_;
  Scratch<std::uint8_t> bytes_;
};

// -- the loop over tiles

constexpr int chunk_bytes = 64;  // of the sum, in shared memory at a time
constexpr int stages = 4;        // chunks there, all but one on their way
constexpr int warp_rows = 64;
constexpr int warp_columns = 32;

/// A warp's sums: [16 rows][8 columns][as mma has them].
using Sums = int[4][4][4];
/// What is multiplied into them: four times 16 rows, four times 8 columns, 32 bytes each.
using RowWords = std::uint32_t[4][4];
using ColumnWords = std::uint32_t[4][2];

/// A chunk of an operand whose rows are contiguous along the sum, 64 bytes each. Segments of a row change
/// places so that eight rows' lie in different banks.
struct AlongRows {
  static constexpr std::int64_t bytes(int rows) { return std::int64_t{rows} * chunk_bytes; }
  __device__ static int offset(int row, int part) {
    return row * chunk_bytes + (part ^ (row >> 1 & 3)) * segment;
  }
  template <int rows>
  __device__ static void load_rows(RowWords& a, const unsigned char* tile, int first, int k) {
    const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      load_matrices(a[i], tile + offset(first + 16 * i + lane % 16, 2 * k + lane / 16));
  }
  template <int columns>
  __device__ static void load_columns(ColumnWords& b, const unsigned char* tile, int first, int k) {
    const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
      std::uint32_t words[4];
      load_matrices(words, tile + offset(first + 8 * j + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
      b[j][0] = words[0];
      b[j][1] = words[1];
      b[j + 1][0] = words[2];
      b[j + 1][1] = words[3];
    }
  }
  /// Row r (below 8) of the upper (0) or lower half of 16 rows i; column c (below 8) of 8 columns j.
  __device__ static int row(int i, int half, int r) { return 16 * i + 8 * half + r; }
  __device__ static int column(int j, int c) { return 8 * j + c; }
};

/// Words of four places along the sum, four rows each, become four rows' words along the sum.
__device__ inline void turn(std::uint32_t (&w)[4]) {
  const std::uint32_t low01 = __byte_perm(w[0], w[1], 0x5140);
  const std::uint32_t high01 = __byte_perm(w[0], w[1], 0x7362);
  const std::uint32_t low23 = __byte_perm(w[2], w[3], 0x5140);
  const std::uint32_t high23 = __byte_perm(w[2], w[3], 0x7362);
  w[0] = __byte_perm(low01, low23, 0x5410);
  w[1] = __byte_perm(low01, low23, 0x7632);
  w[2] = __byte_perm(high01, high23, 0x5410);
  w[3] = __byte_perm(high01, high23, 0x7632);
}

/// A chunk of an operand that has `width` (64 or 128) rows side by side for each of its 64 places along the
/// sum. A lane turns words of rows 4g … 4g + 3, so these are its rows of four products. Segments change
/// places so that the places 4q + j of all q lie in different banks.
struct AcrossRows {
  static constexpr std::int64_t bytes(int width) { return std::int64_t{width} * chunk_bytes; }
  template <int width>
  __device__ static int offset(int place, int part) {
    static_assert(width == 64 || width == 128);
    if constexpr (width == 128) {
      return place * 128 + (part ^ (place >> 2 & 3) * 2) * segment;
    } else {
      return ((place >> 4) * 8 + (place & 7)) * 128 + (place >> 3 & 1) * 64 +
             (part ^ (place >> 2 & 1) * 2) * segment;
    }
  }
  /// Rows first + 4g … first + 4g + 3 at places 32·k + 16·half + 4q … along the sum.
  template <int width>
  __device__ static void load_words(std::uint32_t (&words)[4], const unsigned char* tile, int first, int k,
                                    int half) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const int row = first + lane / 4 * 4;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int place = 32 * k + 16 * half + lane % 4 * 4 + j;
      words[j] =
          *reinterpret_cast<const std::uint32_t*>(tile + offset<width>(place, row / segment) + row % segment);
    }
    turn(words);
  }
  template <int width>
  __device__ static void load_rows(RowWords& a, const unsigned char* tile, int first, int k) {
#pragma unroll
    for (int block = 0; block < 2; ++block) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        std::uint32_t words[4];
        load_words<width>(words, tile, first + 32 * block, k, half);
        a[2 * block][2 * half] = words[0];
        a[2 * block][2 * half + 1] = words[1];
        a[2 * block + 1][2 * half] = words[2];
        a[2 * block + 1][2 * half + 1] = words[3];
      }
    }
  }
  template <int width>
  __device__ static void load_columns(ColumnWords& b, const unsigned char* tile, int first, int k) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      std::uint32_t words[4];
      load_words<width>(words, tile, first, k, half);
#pragma unroll
      for (int j = 0; j < 4; ++j) b[j][half] = words[j];
    }
  }
};

/// Threads of a block whose tile is `rows` by `columns`: a warp for each 64 by 32.
constexpr int threads_of(int rows, int columns) { return rows / warp_rows * (columns / warp_columns) * 32; }
constexpr std::size_t stage_bytes(int rows, int columns) {
  return static_cast<std::size_t>(rows + columns) * chunk_bytes;
}

/// The sums of a block's tile over `chunks` chunks. Source::load(chunk, a, b) queues the copies of a chunk of
/// both operands to shared memory, from the first chunk on; Source::prepare(chunk) is called a barrier before
/// it, in the same order, and may leave something in one of `stages` places. Source::Layout says how operands
/// lie.
template <class Source>
__device__ inline void accumulate(Source& source, int chunks, unsigned char* memory, Sums& sums) {
  using Layout = typename Source::Layout;
  constexpr int rows = Source::rows;
  constexpr int columns = Source::columns;
  constexpr int pitch = static_cast<int>(stage_bytes(rows, columns));
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int first_row = warp / (columns / warp_columns) * warp_rows;
  const int first_column = warp % (columns / warp_columns) * warp_columns;
  const bool used = first_row < source.rows_used && first_column < source.columns_used;
  const auto load = [&](int chunk) {
    unsigned char* const stage = memory + chunk % stages * pitch;
    if (chunk < chunks) source.load(chunk, stage, stage + Layout::bytes(rows));
    copies_commit();
  };
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int l = 0; l < 4; ++l) sums[i][j][l] = 0;
    }
  }
  for (int chunk = 0; chunk < stages; ++chunk) source.prepare(chunk);
  __syncthreads();
#pragma unroll 1
  for (int chunk = 0; chunk < stages - 1; ++chunk) load(chunk);
#pragma unroll 1
  for (int chunk = 0; chunk < chunks; ++chunk) {
    copies_wait<stages - 2>();
    __syncthreads();  // this chunk is there, and all are through with the one before
    load(chunk + stages - 1);
    source.prepare(chunk + stages);
    if (!used) continue;
    const unsigned char* const stage = memory + chunk % stages * pitch;
    // Not unrolled: operands of two rounds would not fit the registers.
#pragma unroll 1
    for (int k = 0; k < chunk_bytes / 32; ++k) {
      RowWords a;
      ColumnWords b;
      Layout::template load_rows<rows>(a, stage, first_row, k);
      Layout::template load_columns<columns>(b, stage + Layout::bytes(rows), first_column, k);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) Source::multiply(sums[i][j], a[i], b[j][0], b[j][1]);
      }
    }
  }
  copies_wait<0>();
}

}  // namespace hardbit::cuda
