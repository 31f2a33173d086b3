#include "cpu/kernels/sign_sum.h"

// What the others are measured against; sums are not faster this way without wide permutations.

namespace hardbit::cpu {
namespace {

void tables(const SignSumTables& t) {
  for (std::int64_t r = 0; r < t.rows; ++r) {
    for (std::int64_t i = 0; i < t.count; ++i) {
      float* const out = t.out + r * t.row_pitch + i * t.pitch;
      for (int signs = 0; signs < sign_sum_table; ++signs) {
        const auto value = [&](int k) {
          const float v = t.values[k][r * t.row_step + i * t.step];
          return (signs >> k & 1) != 0 ? v : -v;
        };
        out[signs] = (value(0) + value(1)) + (value(2) + value(3));
      }
    }
  }
}

void transpose(const std::uint64_t* rows, int blocks, std::uint32_t* words) {
  for (int lane = 0; lane < blocks * sign_sum_block; ++lane) {
    words[lane] = 0;
    for (int i = 0; i < 32; ++i) words[lane] |= static_cast<std::uint32_t>(rows[i] >> lane & 1) << i;
  }
}

void window(const SignWindow& w) {
  const std::uint32_t kept = w.count == 32 ? ~std::uint32_t{0} : (std::uint32_t{1} << w.count) - 1;
  for (std::int64_t lane = 0; lane < w.blocks * sign_sum_block; ++lane) {
    const std::uint32_t* const words = w.words + w.from / 32 * w.word_pitch + lane;
    const std::uint64_t both = words[0] | std::uint64_t{words[w.word_pitch]} << 32;
    w.out[lane] |= (static_cast<std::uint32_t>(both >> w.from % 32) & kept) << w.to;
  }
}

void sum(const SignSumTile& tile) {
  for (int r = 0; r < tile.rows; ++r) {
    for (int lane = 0; lane < tile.lanes; ++lane) {
      float total = 0;
      for (std::int64_t s = 0; s < tile.segments; ++s) {
        const float* table = tile.tables[r] + tile.table_segments[s];
        const std::uint32_t* word = tile.words + tile.word_segments[s] + lane;
        std::uint32_t signs = *word;
        for (std::int64_t g = 0; g < tile.groups; ++g, table += sign_sum_table) {
          if (g > 0 && g % 8 == 0) signs = *(word += tile.word_pitch);
          total += table[signs & 15];
          signs >>= 4;
        }
      }
      tile.out[r][lane] = tile.add ? tile.out[r][lane] + total : total;
    }
  }
}

}  // namespace

constinit const SignSumKernels sign_sum_generic{.name = "sign_sum_generic",
                                                .isa = Isa::generic,
                                                .tables = tables,
                                                .transpose = transpose,
                                                .window = window,
                                                .sum = sum};

}  // namespace hardbit::cpu
