#include <cmath>

#include "cuda/dropout.h"
#include "cuda/kernel.h"
#include "cuda/pack_bits.h"

namespace hardbit::cuda {
namespace {

struct Draws {
  Philox philox;
  std::uint32_t stream;
  Varying<std::uint64_t> step;
  /// Draws below it are dropped.
  std::uint64_t dropped;

  __device__ Philox::Block block(std::int64_t i) const {
    return philox.row_block(static_cast<std::uint32_t>(i), value_of(step), stream);
  }
};

/// x where it is kept.
struct Kept {
  double share;
  __device__ float operator()(float x, bool keep) const {
    return keep ? static_cast<float>(static_cast<double>(x) / share) : 0.0F;
  }
};

/// Rows of whole blocks of four draws. A thread has one block, and eight threads make half a word of the
/// mask.
__global__ void __launch_bounds__(256)
    dropout_kernel(Draws draws, Kept kept, const float4* x, float4* y, std::uint32_t* halves,
                   std::int64_t rows, std::int64_t row_blocks, std::int64_t row_halves) {
  const unsigned lane = threadIdx.x % 32;
  const std::int64_t count = rows * row_halves * 8;
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  // Lanes stay together until the last of their warp is through.
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i - lane < count;
       i += stride) {
    const Place half = place_of(i / 8, row_halves);
    const std::int64_t column = half.column * 8 + lane % 8;
    unsigned bits = 0;
    if (i < count && column < row_blocks) {
      const std::int64_t block = half.row * row_blocks + column;
      const Philox::Block words = draws.block(block);
      const bool keep[4] = {words[0] >= draws.dropped, words[1] >= draws.dropped, words[2] >= draws.dropped,
                            words[3] >= draws.dropped};
      const float4 v = x[block];
      y[block] = make_float4(kept(v.x, keep[0]), kept(v.y, keep[1]), kept(v.z, keep[2]), kept(v.w, keep[3]));
#pragma unroll
      for (unsigned k = 0; k < 4; ++k) {
        const unsigned bit = keep[k] ? 1U : 0U;  // by itself: GCC 12's sanitizer gets the whole wrong
        bits |= bit << (lane % 8 * 4 + k);
      }
    }
    bits |= __shfl_xor_sync(all_lanes, bits, 1);
    bits |= __shfl_xor_sync(all_lanes, bits, 2);
    bits |= __shfl_xor_sync(all_lanes, bits, 4);
    if (lane % 8 == 0 && i < count) halves[i / 8] = bits;
  }
}

}  // namespace

void dropout(const Philox& philox, std::uint32_t stream, std::uint64_t step, double rate, const float* x,
             float* y, std::uint64_t* mask, std::int64_t rows, std::int64_t columns) {
  const Draws draws{philox, stream, varying_step(step),
                    static_cast<std::uint64_t>(std::llround(rate * 0x1p32))};
  const Kept kept{1 - rate};
  if (columns % 4 == 0 && aligned(x, 16) && aligned(y, 16)) {
    constexpr std::int64_t most_blocks = 1 << 20;
    const std::int64_t row_halves = 2 * words(columns);
    const std::int64_t blocks = ceil_div<std::int64_t>(rows * row_halves * 8, 256);
    launch(dropout_kernel, dim3(static_cast<unsigned>(blocks < most_blocks ? blocks : most_blocks)),
           dim3(256), 0, draws, kept, reinterpret_cast<const float4*>(x), reinterpret_cast<float4*>(y),
           reinterpret_cast<std::uint32_t*>(mask), rows, columns / 4, row_halves);
    return;
  }
  // A block of draws may lie in two rows: every element computes the one of its own word.
  pack_bits<1>(
      rows, columns,
      [=] __device__(std::int64_t row, std::int64_t column) {
        const std::int64_t i = row * columns + column;
        const Philox::Block words = draws.block(i / 4);
        const std::uint32_t even = (i & 2) != 0 ? words[2] : words[0];
        const std::uint32_t odd = (i & 2) != 0 ? words[3] : words[1];
        const bool keep = ((i & 1) != 0 ? odd : even) >= draws.dropped;
        y[i] = kept(x[i], keep);
        return keep ? 1U : 0U;
      },
      mask);
}

void apply_dropout(const float* x, const std::uint64_t* mask, double rate, float* y, std::int64_t rows,
                   std::int64_t columns) {
  map_bits(x, mask, y, rows, columns, Kept{1 - rate});
}

}  // namespace hardbit::cuda
