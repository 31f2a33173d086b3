#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "cpu/kernels/product.h"
#include "runtime/cpu_features.h"

// Sums of floats under signs, Σ ±v, faster than by multiplying: four values are added up once under each of
// their sixteen signs, and these sums are a table that fills one wide register. A permutation then looks up
// sixteen outputs at once, each by four signs of its own: one permutation and one addition do the work of
// four multiply-additions. All sums are fp32. Plain data and declarations only, as in product.h.

namespace hardbit::cpu {

/// Values of a table, and its length.
inline constexpr int sign_sum_values = 4;
inline constexpr int sign_sum_table = 16;
/// Lanes that share a word of signs' row are a multiple of this.
inline constexpr int sign_sum_block = 16;
/// A tile's most rows and lanes.
inline constexpr int sign_sum_rows = 6;
inline constexpr int sign_sum_lanes = 64;

/// rows × lanes sums over segments: out[r][l] = Σ_s Σ_g T[r][s][g][signs g of lane l in segment s].
struct SignSumTile {
  /// Row r's tables of segment s begin at tables[r] + table_segments[s].
  const float* const* tables;
  const std::ptrdiff_t* table_segments;
  /// Lane l's signs of segment s: 32 a word, words[word_segments[s] + i·word_pitch + l], lowest bits first;
  /// +1 where a bit is set. Whole blocks of lanes can be read.
  const std::uint32_t* words;
  const std::ptrdiff_t* word_segments;
  std::ptrdiff_t word_pitch;
  std::int64_t segments;
  std::int64_t groups;  // tables of a segment
  int rows;             // 1 … sign_sum_rows
  int lanes;            // 1 … sign_sum_lanes
  float* const* out;    // of each row
  bool add;             // to what stands there
};

/// Tables [r][i], r < rows, i < count: that of values[0][r·row_step + i·step] … values[3][…], written to
/// out + r·row_pitch + i·pitch. Each begins on a multiple of 64 bytes.
struct SignSumTables {
  const float* const* values;
  std::int64_t rows, row_step, row_pitch;
  std::int64_t count, step, pitch;
  float* out;
};

/// `count` signs of a lane, bits [from, from + count) of `words` (32 a word, word_pitch apart, one word more
/// than holds them), become bits [to, to + count) of out[lane], to + count ≤ 32, where there are zeros.
struct SignWindow {
  const std::uint32_t* words;
  std::ptrdiff_t word_pitch;
  std::int64_t from;
  int to, count;
  std::int64_t blocks;  // of lanes
  std::uint32_t* out;
};

/// One row of the table. Each sum is made in one order: the values of a table as (v0 + v1) + (v2 + v3), then
/// tables from 0 on, so all rows agree to the last bit.
struct SignSumKernels {
  const char* name;
  Isa isa;
  void (*tables)(const SignSumTables& tables);
  /// Bit i of words[l] = bit l of rows[i], i < 32, l < 16·blocks ≤ 64.
  void (*transpose)(const std::uint64_t* rows, int blocks, std::uint32_t* words);
  void (*window)(const SignWindow& window);
  void (*sum)(const SignSumTile& tile);
};

std::span<const SignSumKernels> sign_sum_kernels();
/// The row of selected_isa(); null where none is faster than multiplying.
const SignSumKernels* selected_sign_sum();

// The rows.
extern const SignSumKernels sign_sum_generic;
#if defined(__x86_64__)
extern const SignSumKernels sign_sum_avx2;
extern const SignSumKernels sign_sum_avx512;
extern const Limit sums_limit_avx2;
extern const Limit sums_limit_avx512bw;
extern const Limit sums_limit_avx512vnni;
extern const Limit sums_limit_avx512;
#endif

}  // namespace hardbit::cpu
