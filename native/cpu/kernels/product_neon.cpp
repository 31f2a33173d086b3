#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstring>

#include "cpu/kernels/product.h"

// Advanced SIMD, part of every AArch64 CPU: no dot products of bytes, no fused operations where rounding
// counts. Channels lie in groups of four, one 32-bit lane each, and a word of activations is broadcast to
// all four, so that nothing is summed across lanes.

namespace hardbit::cpu {
namespace {

constexpr int lanes = 4;
constexpr int group_tile = 4;
constexpr int channel_tile = lanes * group_tile;

std::int64_t groups_of(std::int64_t channels) { return (channels + lanes - 1) / lanes; }

int groups_of(int channels) { return (channels + lanes - 1) / lanes; }

std::uint32_t word_at(const std::uint8_t* x) {
  std::uint32_t word;
  std::memcpy(&word, x, sizeof word);
  return word;
}

/// The sums of a tile, [rows][channel_tile], of which the groups that the tile has are set.
using Sums = void (*)(const ProductTile& tile, std::int32_t* sums);

// -- bits
//
// Packed weights: [ceil(channels / 4)][words][4].
//
// Counts are kept in bytes, which hold 31 words of at most 8 a byte, and then widened into 32-bit totals:
// the additions between are the cheap ones, and the totals may live in memory. 6 × 4 vectors of counts, four
// of weights, one of activations and one that differs: 30 of the 32 registers.

constexpr int bits_rows = 6;
constexpr std::int64_t counted_words = 31;

std::size_t bits_packed_bytes(std::int64_t channels, std::int64_t words) {
  return static_cast<std::size_t>(groups_of(channels) * words * lanes) * 4;
}

template <class Word>
void pack_words(const Word* w, std::int64_t channels, std::int64_t words, Word* packed) {
  for (std::int64_t c = 0; c < groups_of(channels) * lanes; c += lanes) {
    for (std::int64_t k = 0; k < words; ++k) {
      for (std::int64_t lane = c; lane < c + lanes; ++lane) {
        *packed++ = lane < channels ? w[lane * words + k] : Word{0};
      }
    }
  }
}

void pack_bits(const std::uint32_t* w, std::int64_t channels, std::int64_t words, void* packed) {
  pack_words(w, channels, words, static_cast<std::uint32_t*>(packed));
}

template <int rows, int groups>
void bits_sums(const ProductTile& t, std::int32_t* sums) {
  const std::int64_t group_bytes = (t.windows.segments * t.windows.segment_words + t.w_rest) * 4 * lanes;
  uint32x4_t totals[rows][groups];
  uint8x16_t counts[rows][groups];
  for (int r = 0; r < rows; ++r) {
    for (int g = 0; g < groups; ++g) {
      totals[r][g] = vdupq_n_u32(0);
      counts[r][g] = vdupq_n_u8(0);
    }
  }
  for (int p = t.planes - 1; p >= 0; --p) {  // Horner's rule
    for (int r = 0; r < rows; ++r) {
      for (int g = 0; g < groups; ++g) totals[r][g] = vaddq_u32(totals[r][g], totals[r][g]);
    }
    const auto* w = static_cast<const std::uint8_t*>(t.w) + t.w_first * 4 * lanes;
    std::int64_t room = counted_words;
    const auto widen = [&] {
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
        for (int g = 0; g < groups; ++g) {
          totals[r][g] = vpadalq_u16(totals[r][g], vpaddlq_u8(counts[r][g]));
          counts[r][g] = vdupq_n_u8(0);
        }
      }
      room = counted_words;
    };
    for (std::int64_t s = 0; s < t.windows.segments; ++s, w += t.w_skip * 4 * lanes) {
      const std::uint8_t* x[rows];
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) x[r] = t.windows.x[r] + t.windows.offsets[s] + p * t.plane_pitch;
      for (std::int64_t left = t.windows.segment_words; left > 0;) {
        if (room == 0) widen();
        const std::int64_t now = left < room ? left : room;
        left -= now;
        room -= now;
        for (std::int64_t k = 0; k < now; ++k, w += 4 * lanes) {
          uint8x16_t weights[groups];
#pragma GCC unroll 4
          for (int g = 0; g < groups; ++g) weights[g] = vld1q_u8(w + g * group_bytes);
#pragma GCC unroll 8
          for (int r = 0; r < rows; ++r) {
            const uint8x16_t word = vreinterpretq_u8_u32(vdupq_n_u32(word_at(x[r])));
            x[r] += 4;
#pragma GCC unroll 4
            for (int g = 0; g < groups; ++g) {
              counts[r][g] = vaddq_u8(counts[r][g], vcntq_u8(veorq_u8(weights[g], word)));
            }
          }
        }
      }
    }
    widen();
  }
  for (int r = 0; r < rows; ++r) {
    for (int g = 0; g < groups; ++g) {
      vst1q_s32(sums + r * channel_tile + g * lanes, vreinterpretq_s32_u32(totals[r][g]));
    }
  }
}

// -- bytes
//
// There is no product of an unsigned and a signed byte, so activations become 127 − x, signed:
//   S = Σ x·w = 127·Σ w − Σ (127 − x)·w.
// A sum of two neighbouring products then fits 16 bits: its one overflow, (−128)·(−128) twice, needs two
// neighbours with x = 255 and w = −128, whose products are beyond Operand::bytes already.
//
// Packed weights: [ceil(channels / 4)] of 127·Σ w, four of 32 bits, then [words] of 16 bytes
//   c0k0 c0k2 c1k0 c1k2 c2k0 c2k2 c3k0 c3k2   c0k1 c0k3 c1k1 c1k3 c2k1 c2k3 c3k1 c3k3
// where k0 … k3 are a word's values: the high half's products are added to those of the low half, which
// makes neighbours' sums, and pairs of these to the channels' 32-bit lanes.

constexpr int bytes_rows = 4;

std::size_t bytes_packed_bytes(std::int64_t channels, std::int64_t words) {
  return static_cast<std::size_t>(groups_of(channels) * (words + 1) * lanes) * 4;
}

void pack_bytes(const std::uint32_t* w, std::int64_t channels, std::int64_t words, void* packed) {
  auto* out = static_cast<std::uint8_t*>(packed);
  for (std::int64_t c = 0; c < groups_of(channels) * lanes; c += lanes) {
    std::uint8_t* const corrections = out;
    std::uint32_t totals[lanes] = {};
    out += 4 * lanes;
    for (std::int64_t k = 0; k < words; ++k, out += 4 * lanes) {
      for (int lane = 0; lane < lanes; ++lane) {
        const std::uint32_t word = c + lane < channels ? w[(c + lane) * words + k] : 0;
        for (int i = 0; i < 4; ++i) {
          const auto byte = static_cast<std::uint8_t>(word >> (8 * i));
          out[i % 2 * 8 + lane * 2 + i / 2] = byte;
          totals[lane] += static_cast<std::uint32_t>(127 * static_cast<std::int8_t>(byte));
        }
      }
    }
    std::memcpy(corrections, totals, sizeof totals);
  }
}

template <int rows, int groups>
void bytes_sums(const ProductTile& t, std::int32_t* sums) {
  const std::int64_t group_bytes = (t.windows.segments * t.windows.segment_words + 1) * 4 * lanes;
  const auto* const packed = static_cast<const std::uint8_t*>(t.w);
  int32x4_t totals[rows][groups];
  for (int r = 0; r < rows; ++r) {
    for (int g = 0; g < groups; ++g) totals[r][g] = vdupq_n_s32(0);
  }
  const std::uint8_t* w = packed + 4 * lanes;
  for (std::int64_t s = 0; s < t.windows.segments; ++s) {
    const std::uint8_t* x[rows];
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) x[r] = t.windows.x[r] + t.windows.offsets[s];
    for (std::int64_t k = 0; k < t.windows.segment_words; ++k, w += 4 * lanes) {
      int8x16_t weights[groups];
#pragma GCC unroll 4
      for (int g = 0; g < groups; ++g) weights[g] = vreinterpretq_s8_u8(vld1q_u8(w + g * group_bytes));
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) {
        // As signed bytes, x XOR 127 is 127 − x.
        const uint8x16_t word = veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(word_at(x[r]))), vdupq_n_u8(0x7F));
        const int8x16_t even = vreinterpretq_s8_u8(vuzp1q_u8(word, word));
        const int8x16_t odd = vreinterpretq_s8_u8(vuzp2q_u8(word, word));
        x[r] += 4;
#pragma GCC unroll 4
        for (int g = 0; g < groups; ++g) {
          const int16x8_t products = vmull_s8(vget_low_s8(weights[g]), vget_low_s8(even));
          totals[r][g] = vpadalq_s16(totals[r][g], vmlal_high_s8(products, weights[g], odd));
        }
      }
    }
  }
  for (int g = 0; g < groups; ++g) {
    const int32x4_t correction = vreinterpretq_s32_u8(vld1q_u8(packed + g * group_bytes));
    for (int r = 0; r < rows; ++r) {
      vst1q_s32(sums + r * channel_tile + g * lanes, vsubq_s32(correction, totals[r][g]));
    }
  }
}

// -- what becomes of sums

constexpr Sums bits_tiles[bits_rows][group_tile] = {
    {bits_sums<1, 1>, bits_sums<1, 2>, bits_sums<1, 3>, bits_sums<1, 4>},
    {bits_sums<2, 1>, bits_sums<2, 2>, bits_sums<2, 3>, bits_sums<2, 4>},
    {bits_sums<3, 1>, bits_sums<3, 2>, bits_sums<3, 3>, bits_sums<3, 4>},
    {bits_sums<4, 1>, bits_sums<4, 2>, bits_sums<4, 3>, bits_sums<4, 4>},
    {bits_sums<5, 1>, bits_sums<5, 2>, bits_sums<5, 3>, bits_sums<5, 4>},
    {bits_sums<6, 1>, bits_sums<6, 2>, bits_sums<6, 3>, bits_sums<6, 4>},
};

constexpr Sums bytes_tiles[bytes_rows][group_tile] = {
    {bytes_sums<1, 1>, bytes_sums<1, 2>, bytes_sums<1, 3>, bytes_sums<1, 4>},
    {bytes_sums<2, 1>, bytes_sums<2, 2>, bytes_sums<2, 3>, bytes_sums<2, 4>},
    {bytes_sums<3, 1>, bytes_sums<3, 2>, bytes_sums<3, 3>, bytes_sums<3, 4>},
    {bytes_sums<4, 1>, bytes_sums<4, 2>, bytes_sums<4, 3>, bytes_sums<4, 4>},
};

template <const auto& tiles>
void store_bits(const ProductTile& t, const BitStore& store) {
  static constexpr std::uint32_t places[2][lanes] = {{1, 2, 4, 8}, {16, 32, 64, 128}};
  std::int32_t sums[bits_rows * channel_tile];
  const int groups = groups_of(t.columns);
  tiles[t.rows - 1][groups - 1](t, sums);
  for (int r = 0; r < t.rows; ++r) {
    for (int g = 0; g < groups; g += 2) {
      const std::int32_t* const row = sums + r * channel_tile + g * lanes;
      const std::int32_t* const thresholds = store.thresholds[r] + g * lanes;
      uint32x4_t bits = vandq_u32(vcleq_s32(vld1q_s32(row), vld1q_s32(thresholds)), vld1q_u32(places[0]));
      if (g + 1 < groups) {
        const uint32x4_t set = vcleq_s32(vld1q_s32(row + lanes), vld1q_s32(thresholds + lanes));
        bits = vorrq_u32(bits, vandq_u32(set, vld1q_u32(places[1])));
      }
      const int present = t.columns - g * lanes;
      const std::uint32_t kept = present < 8 ? (1U << present) - 1 : 0xFFU;
      store.out[r][g / 2] = static_cast<std::uint8_t>(vaddvq_u32(bits) & kept);
    }
  }
}

void store_four(std::int32_t* out, int32x4_t values) { vst1q_s32(out, values); }
void store_four(std::int16_t* out, int32x4_t values) { vst1_s16(out, vmovn_s32(values)); }

template <const auto& tiles, class Out>
void store_sums(const ProductTile& t, const SumStore<Out>& store) {
  std::int32_t sums[bits_rows * channel_tile];
  tiles[t.rows - 1][groups_of(t.columns) - 1](t, sums);
  for (int r = 0; r < t.rows; ++r) {
    for (int c = 0; c < t.columns; c += lanes) {
      const int32x4_t values =
          vmlsq_n_s32(vld1q_s32(store.offsets[r] + c), vld1q_s32(sums + r * channel_tile + c), store.factor);
      if (t.columns - c >= lanes) {
        store_four(store.out[r] + c, values);
      } else {
        Out last[lanes];
        store_four(last, values);
        for (int lane = 0; lane < t.columns - c; ++lane) store.out[r][c + lane] = last[lane];
      }
    }
  }
}

// -- floats: multiplied, then added, as FloatKernel has it; packed as bits are

constexpr int float_rows = 6;

void pack_float(const float* w, std::int64_t channels, std::int64_t k, float* packed) {
  pack_words(w, channels, k, packed);
}

template <int rows, int groups>
void float_tile(const FloatTile& t) {
  const std::int64_t group_words = t.windows.segments * t.windows.segment_words * lanes;
  float32x4_t sums[rows][groups];
  for (int r = 0; r < rows; ++r) {
    for (int g = 0; g < groups; ++g) sums[r][g] = vdupq_n_f32(0.0F);
  }
  const float* w = t.w;
  for (std::int64_t s = 0; s < t.windows.segments; ++s) {
    const std::uint8_t* x[rows];
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) x[r] = t.windows.x[r] + t.windows.offsets[s];
    for (std::int64_t k = 0; k < t.windows.segment_words; ++k, w += lanes) {
      float32x4_t weights[groups];
#pragma GCC unroll 4
      for (int g = 0; g < groups; ++g) weights[g] = vld1q_f32(w + g * group_words);
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) {
        float value;
        std::memcpy(&value, x[r], sizeof value);
        x[r] += 4;
#pragma GCC unroll 4
        for (int g = 0; g < groups; ++g) {
          sums[r][g] = vaddq_f32(sums[r][g], vmulq_n_f32(weights[g], value));
        }
      }
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int g = 0; g < groups; ++g) {
      const float32x4_t values = vaddq_f32(sums[r][g], vld1q_f32(t.bias + g * lanes));
      if (t.columns - g * lanes >= lanes) {
        vst1q_f32(t.out[r] + g * lanes, values);
      } else {
        float last[lanes];
        vst1q_f32(last, values);
        for (int c = g * lanes; c < t.columns; ++c) t.out[r][c] = last[c - g * lanes];
      }
    }
  }
}

constexpr void (*float_tiles[float_rows][group_tile])(const FloatTile&) = {
    {float_tile<1, 1>, float_tile<1, 2>, float_tile<1, 3>, float_tile<1, 4>},
    {float_tile<2, 1>, float_tile<2, 2>, float_tile<2, 3>, float_tile<2, 4>},
    {float_tile<3, 1>, float_tile<3, 2>, float_tile<3, 3>, float_tile<3, 4>},
    {float_tile<4, 1>, float_tile<4, 2>, float_tile<4, 3>, float_tile<4, 4>},
    {float_tile<5, 1>, float_tile<5, 2>, float_tile<5, 3>, float_tile<5, 4>},
    {float_tile<6, 1>, float_tile<6, 2>, float_tile<6, 3>, float_tile<6, 4>},
};

void run_float(const FloatTile& t) { float_tiles[t.rows - 1][groups_of(t.columns) - 1](t); }

// -- limits: independent sums in registers, enough of them to hide latencies

constexpr int limit_sums = 20;

std::uint64_t popcount_limit(std::int64_t iterations) {
  uint8x16_t sums[limit_sums];
  for (int i = 0; i < limit_sums; ++i) sums[i] = vdupq_n_u8(static_cast<std::uint8_t>(i));
  for (std::int64_t n = 0; n < iterations; ++n) {
    const uint8x16_t word = vdupq_n_u8(static_cast<std::uint8_t>(n));
#pragma GCC unroll 32
    for (uint8x16_t& sum : sums) sum = vaddq_u8(sum, vcntq_u8(veorq_u8(sum, word)));
  }
  std::uint64_t total = 0;
  for (const uint8x16_t& sum : sums) total += vaddvq_u8(sum);
  return total;
}

std::uint64_t int8_limit(std::int64_t iterations) {
  int32x4_t sums[limit_sums];
  for (int i = 0; i < limit_sums; ++i) sums[i] = vdupq_n_s32(i);
  for (std::int64_t n = 0; n < iterations; ++n) {
    const int8x16_t word = vdupq_n_s8(static_cast<std::int8_t>(n));
#pragma GCC unroll 32
    for (int32x4_t& sum : sums) {
      const int8x16_t x = vreinterpretq_s8_s32(sum);
      const int16x8_t products = vmull_s8(vget_low_s8(x), vget_low_s8(word));
      sum = vpadalq_s16(sum, vmlal_high_s8(products, x, word));
    }
  }
  std::int64_t total = 0;
  for (const int32x4_t& sum : sums) total += vaddvq_s32(sum);
  return static_cast<std::uint64_t>(total);
}

std::uint64_t fp32_limit(std::int64_t iterations) {
  float32x4_t sums[limit_sums];
  for (int i = 0; i < limit_sums; ++i) sums[i] = vdupq_n_f32(static_cast<float>(i));
  const float32x4_t half = vdupq_n_f32(0.5F);
  for (std::int64_t n = 0; n < iterations; ++n) {
    const float32x4_t value = vdupq_n_f32(static_cast<float>(n));
#pragma GCC unroll 32
    for (float32x4_t& sum : sums) sum = vfmaq_f32(value, sum, half);
  }
  float total = 0.0F;
  for (const float32x4_t& sum : sums) total += vaddvq_f32(sum);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &total, sizeof total);
  return bits;
}

}  // namespace

const ProductKernel bits_neon = {.name = "bits_6x16_neon",
                                 .isa = Isa::neon,
                                 .operand = Operand::bits,
                                 .mr = bits_rows,
                                 .nr = channel_tile,
                                 .lanes = lanes,
                                 .packed_bytes = bits_packed_bytes,
                                 .pack = pack_bits,
                                 .store_bits = store_bits<bits_tiles>,
                                 .store_i16 = store_sums<bits_tiles, std::int16_t>,
                                 .store_i32 = store_sums<bits_tiles, std::int32_t>};

const ProductKernel bytes_neon = {.name = "bytes_4x16_neon",
                                  .isa = Isa::neon,
                                  .operand = Operand::bytes,
                                  .mr = bytes_rows,
                                  .nr = channel_tile,
                                  .lanes = lanes,
                                  .packed_bytes = bytes_packed_bytes,
                                  .pack = pack_bytes,
                                  .store_bits = store_bits<bytes_tiles>,
                                  .store_i16 = store_sums<bytes_tiles, std::int16_t>,
                                  .store_i32 = store_sums<bytes_tiles, std::int32_t>};

const FloatKernel float_neon = {.name = "float_6x16_neon",
                                .isa = Isa::neon,
                                .mr = float_rows,
                                .nr = channel_tile,
                                .lanes = lanes,
                                .packed_bytes = bits_packed_bytes,
                                .pack = pack_float,
                                .run = run_float};

const Limit popcount_limit_neon = {"popcount", Isa::neon, limit_sums * 128, popcount_limit};
const Limit int8_limit_neon = {"int8", Isa::neon, limit_sums * 16, int8_limit};
const Limit fp32_limit_neon = {"fp32", Isa::neon, limit_sums * 4, fp32_limit};

}  // namespace hardbit::cpu
#endif
