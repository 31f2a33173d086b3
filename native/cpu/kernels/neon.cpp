#if defined(__aarch64__)
#include <arm_neon.h>

#include "cpu/kernels/table.h"

// Advanced SIMD, part of every AArch64 CPU.

namespace hardbit::cpu {
namespace {

constexpr int row_tile = 4;
constexpr int group_tile = 4;
constexpr int vector_lanes = 2;
static_assert(row_tile * group_tile * vector_lanes <= max_tile);

// Packed weights: [ceil(channels / 2)][words][2], a vector holds one word of two channels.
void pack(const std::uint64_t* w, std::int64_t channels, std::int64_t words, std::uint64_t* packed) {
  for (std::int64_t c = 0; c < channels; c += vector_lanes) {
    for (std::int64_t k = 0; k < words; ++k, packed += vector_lanes) {
      packed[0] = w[c * words + k];
      packed[1] = c + 1 < channels ? w[(c + 1) * words + k] : 0;
    }
  }
}

// Counts are kept in bytes for at most 31 words (31·8 = 248), then widened to the channel's 64-bit lane.
template <int rows, int groups>
void tile(const BgemmTile& t) {
  uint64x2_t sums[rows][groups];
  for (int r = 0; r < rows; ++r) {
    for (int g = 0; g < groups; ++g) sums[r][g] = vdupq_n_u64(0);
  }
  for (int p = t.planes - 1; p >= 0; --p) {
    const std::uint64_t* x = t.x + p * t.plane_stride;
    const std::uint64_t* w = t.w;
    for (int r = 0; r < rows; ++r) {
      for (int g = 0; g < groups; ++g) sums[r][g] = vaddq_u64(sums[r][g], sums[r][g]);
    }
    for (std::int64_t k = 0; k < t.words;) {
      const std::int64_t end = t.words - k < 31 ? t.words : k + 31;
      uint8x16_t bytes[rows][groups];
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
        for (int g = 0; g < groups; ++g) bytes[r][g] = vdupq_n_u8(0);
      }
      for (; k < end; ++k, ++x, w += vector_lanes) {
        uint64x2_t weights[groups];
#pragma GCC unroll 4
        for (int g = 0; g < groups; ++g) weights[g] = vld1q_u64(w + g * t.words * vector_lanes);
#pragma GCC unroll 4
        for (int r = 0; r < rows; ++r) {
          const uint64x2_t word = vdupq_n_u64(x[r * t.row_stride]);
#pragma GCC unroll 4
          for (int g = 0; g < groups; ++g) {
            const uint8x16_t differ = vreinterpretq_u8_u64(veorq_u64(weights[g], word));
            bytes[r][g] = vaddq_u8(bytes[r][g], vcntq_u8(differ));
          }
        }
      }
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
        for (int g = 0; g < groups; ++g) {
          sums[r][g] = vpadalq_u32(sums[r][g], vpaddlq_u16(vpaddlq_u8(bytes[r][g])));
        }
      }
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int g = 0; g < groups; ++g) {
      vst1_u32(t.sums + r * group_tile * vector_lanes + g * vector_lanes, vmovn_u64(sums[r][g]));
    }
  }
}

using Tile = void (*)(const BgemmTile&);
constexpr Tile tiles[row_tile][group_tile] = {
    {tile<1, 1>, tile<1, 2>, tile<1, 3>, tile<1, 4>},
    {tile<2, 1>, tile<2, 2>, tile<2, 3>, tile<2, 4>},
    {tile<3, 1>, tile<3, 2>, tile<3, 3>, tile<3, 4>},
    {tile<4, 1>, tile<4, 2>, tile<4, 3>, tile<4, 4>},
};

void run(const BgemmTile& t) { tiles[t.rows - 1][(t.columns - 1) / vector_lanes](t); }

}  // namespace

constinit const Bgemm bgemm_4x8_neon = {"bgemm_4x8_neon", Isa::neon, row_tile, group_tile* vector_lanes, 64,
                                        vector_lanes,     pack,      run};

}  // namespace hardbit::cpu
#endif
