#include <immintrin.h>

#include "cpu/kernels/sign_sum.h"

// The sixteen sums of a table are one register, which vpermps indexes by the low four bits of each lane.

namespace hardbit::cpu {
namespace {

/// +1 in the lanes whose bit `value` is set, −1 in the others.
template <int value>
__m512 signs() {
  constexpr unsigned set[4] = {0xAAAA, 0xCCCC, 0xF0F0, 0xFF00};
  return _mm512_mask_blend_ps(static_cast<__mmask16>(set[value]), _mm512_set1_ps(-1), _mm512_set1_ps(1));
}

void tables(const SignSumTables& t) {
  const __m512 signs0 = signs<0>();
  const __m512 signs1 = signs<1>();
  const __m512 signs2 = signs<2>();
  const __m512 signs3 = signs<3>();
  for (std::int64_t r = 0; r < t.rows; ++r) {
    const float* v0 = t.values[0] + r * t.row_step;
    const float* v1 = t.values[1] + r * t.row_step;
    const float* v2 = t.values[2] + r * t.row_step;
    const float* v3 = t.values[3] + r * t.row_step;
    float* out = t.out + r * t.row_pitch;
    // Products by ±1 are exact, so each multiply-addition rounds once, like an addition.
    for (std::int64_t i = 0; i < t.count; ++i) {
      const __m512 low =
          _mm512_fmadd_ps(_mm512_set1_ps(*v1), signs1, _mm512_mul_ps(_mm512_set1_ps(*v0), signs0));
      const __m512 high =
          _mm512_fmadd_ps(_mm512_set1_ps(*v3), signs3, _mm512_mul_ps(_mm512_set1_ps(*v2), signs2));
      _mm512_store_ps(out, _mm512_add_ps(low, high));
      v0 += t.step;
      v1 += t.step;
      v2 += t.step;
      v3 += t.step;
      out += t.pitch;
    }
  }
}

void transpose(const std::uint64_t* rows, int blocks, std::uint32_t* words) {
  // Bytes of two rows side by side: a 128-bit lane is eight pairs, one a column of bytes.
  const __m512i pairs =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
  __m512i from[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) from[i] = _mm512_shuffle_epi8(_mm512_loadu_si512(rows + i * 8), pairs);
  // Column c of eight lanes of two registers, four columns a register: word 8·c + l is word c of lane l.
  alignas(64) static constexpr std::uint16_t picks[32] = {0,  8,  16, 24, 32, 40, 48, 56, 1,  9,  17,
                                                          25, 33, 41, 49, 57, 2,  10, 18, 26, 34, 42,
                                                          50, 58, 3,  11, 19, 27, 35, 43, 51, 59};
  const __m512i low = _mm512_load_si512(picks);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(4));
  const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  // The masks of bit b are lanes b (low half) and 8 + b (high half) of a block.
  const __m512i order = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
  for (int block = 0; block < blocks; ++block) {
    const __m512i columns = block < 2 ? low : high;
    const __m512i places = block % 2 == 0 ? first : second;
    __m512i v = _mm512_permutex2var_epi64(_mm512_permutex2var_epi16(from[0], columns, from[1]), places,
                                          _mm512_permutex2var_epi16(from[2], columns, from[3]));
    alignas(64) std::uint64_t masks[8];
#pragma GCC unroll 8
    for (int bit = 7; bit >= 0; --bit) {
      masks[bit] = _mm512_movepi8_mask(v);
      v = _mm512_add_epi8(v, v);
    }
    _mm512_storeu_si512(words + block * sign_sum_block,
                        _mm512_permutexvar_epi32(order, _mm512_load_si512(masks)));
  }
}

void window(const SignWindow& w) {
  const std::uint32_t* words = w.words + w.from / 32 * w.word_pitch;
  const __m128i right = _mm_cvtsi64_si128(w.from % 32);
  const __m128i rest = _mm_cvtsi64_si128(32 - w.from % 32);
  const __m128i left = _mm_cvtsi64_si128(w.to);
  const __m512i kept = _mm512_set1_epi32(
      static_cast<int>(w.count == 32 ? ~std::uint32_t{0} : (std::uint32_t{1} << w.count) - 1));
  std::uint32_t* out = w.out;
  for (std::int64_t block = 0; block < w.blocks; ++block, words += sign_sum_block, out += sign_sum_block) {
    const __m512i low = _mm512_srl_epi32(_mm512_loadu_si512(words), right);
    const __m512i high = _mm512_sll_epi32(_mm512_loadu_si512(words + w.word_pitch), rest);
    const __m512i bits = _mm512_and_si512(_mm512_or_si512(low, high), kept);
    _mm512_storeu_si512(out, _mm512_or_si512(_mm512_loadu_si512(out), _mm512_sll_epi32(bits, left)));
  }
}

template <int rows, int blocks>
void sum_tile(const SignSumTile& tile) {
  __m512 sums[rows][blocks];
  const float* tables[rows];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    tables[r] = tile.tables[r];
    if (tile.add) {
#pragma GCC unroll 4
      for (int b = 0; b < blocks; ++b) __builtin_prefetch(tile.out[r] + b * sign_sum_block, 1);
    }
#pragma GCC unroll 4
    for (int b = 0; b < blocks; ++b) sums[r][b] = _mm512_setzero_ps();
  }
  for (std::int64_t s = 0; s < tile.segments; ++s) {
    std::ptrdiff_t table = tile.table_segments[s];
    const std::uint32_t* words = tile.words + tile.word_segments[s];
    for (std::int64_t left = tile.groups; left > 0; left -= 8, words += tile.word_pitch) {
      __m512i signs[blocks];
#pragma GCC unroll 4
      for (int b = 0; b < blocks; ++b) signs[b] = _mm512_loadu_si512(words + b * sign_sum_block);
      const std::ptrdiff_t end = table + (left < 8 ? left : 8) * sign_sum_table;
      for (; table < end; table += sign_sum_table) {
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) {
          const __m512 of_row = _mm512_load_ps(tables[r] + table);
#pragma GCC unroll 4
          for (int b = 0; b < blocks; ++b)
            sums[r][b] = _mm512_add_ps(sums[r][b], _mm512_permutexvar_ps(signs[b], of_row));
        }
#pragma GCC unroll 4
        for (int b = 0; b < blocks; ++b) signs[b] = _mm512_srli_epi32(signs[b], 4);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int b = 0; b < blocks; ++b) {
      const int width = tile.lanes - b * sign_sum_block;
      const auto lanes = static_cast<__mmask16>(width < sign_sum_block ? (1U << width) - 1 : 0xFFFFU);
      float* const out = tile.out[r] + b * sign_sum_block;
      __m512 v = sums[r][b];
      if (tile.add) v = _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, out), v);
      _mm512_mask_storeu_ps(out, lanes, v);
    }
  }
}

template <int blocks>
void sum_rows(const SignSumTile& tile) {
  switch (tile.rows) {
    case 1:
      return sum_tile<1, blocks>(tile);
    case 2:
      return sum_tile<2, blocks>(tile);
    case 3:
      return sum_tile<3, blocks>(tile);
    case 4:
      return sum_tile<4, blocks>(tile);
    case 5:
      return sum_tile<5, blocks>(tile);
    default:
      return sum_tile<sign_sum_rows, blocks>(tile);
  }
}

void sum(const SignSumTile& tile) {
  switch ((tile.lanes + sign_sum_block - 1) / sign_sum_block) {
    case 1:
      return sum_rows<1>(tile);
    case 2:
      return sum_rows<2>(tile);
    case 3:
      return sum_rows<3>(tile);
    default:
      return sum_rows<4>(tile);
  }
}

/// Permutations and additions of 16 sums, four tables by four vectors of signs.
std::uint64_t limit(std::int64_t iterations) {
  __m512 sums[4][4];
  __m512 tables[4];
  __m512i signs[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    tables[i] = _mm512_set1_ps(static_cast<float>(i));
    signs[i] = _mm512_set1_epi32(i * 3);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) sums[i][j] = _mm512_setzero_ps();
  }
  for (std::int64_t n = 0; n < iterations; ++n) {
    // Nothing may be looked up once for all iterations.
    asm volatile("" : "+v"(signs[0]), "+v"(signs[1]), "+v"(signs[2]), "+v"(signs[3]));
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j)
        sums[i][j] = _mm512_add_ps(sums[i][j], _mm512_permutexvar_ps(signs[j], tables[i]));
    }
  }
  __m512 all = _mm512_setzero_ps();
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) all = _mm512_add_ps(all, sums[i][j]);
  }
  return static_cast<std::uint64_t>(_mm512_reduce_add_ps(all));
}
constexpr std::int64_t limit_macs = 16 * 16 * sign_sum_values;

}  // namespace

constinit const Limit sums_limit_avx512bw = {"sums", Isa::avx512bw, limit_macs, limit};
constinit const Limit sums_limit_avx512vnni = {"sums", Isa::avx512vnni, limit_macs, limit};
constinit const Limit sums_limit_avx512 = {"sums", Isa::avx512, limit_macs, limit};

constinit const SignSumKernels sign_sum_avx512{.name = "sign_sum_avx512",
                                               .isa = Isa::avx512bw,
                                               .tables = tables,
                                               .transpose = transpose,
                                               .window = window,
                                               .sum = sum};

}  // namespace hardbit::cpu
