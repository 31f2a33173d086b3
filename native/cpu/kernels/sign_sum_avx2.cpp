#include <immintrin.h>

#include "cpu/kernels/sign_sum.h"

// vpermps of eight lanes has eight entries, half a table: the other half is the same sums negated. So three
// signs are looked up relative to the fourth, which is then flipped in. A table's second half is never read.

namespace hardbit::cpu {
namespace {

constexpr int lanes = 8;
constexpr int sign_bit = static_cast<int>(0x80000000U);

/// +1 in the lanes whose bit `value` is set, −1 in the others; −1 in all of them for value 3.
template <int value>
__m256 signs() {
  constexpr auto of = [](int lane) { return (lane >> value & 1) != 0 ? 1.0F : -1.0F; };
  return _mm256_setr_ps(of(0), of(1), of(2), of(3), of(4), of(5), of(6), of(7));
}

void tables(const SignSumTables& t) {
  const __m256 signs0 = signs<0>();
  const __m256 signs1 = signs<1>();
  const __m256 signs2 = signs<2>();
  const __m256 signs3 = signs<3>();
  for (std::int64_t r = 0; r < t.rows; ++r) {
    const float* v0 = t.values[0] + r * t.row_step;
    const float* v1 = t.values[1] + r * t.row_step;
    const float* v2 = t.values[2] + r * t.row_step;
    const float* v3 = t.values[3] + r * t.row_step;
    float* out = t.out + r * t.row_pitch;
    for (std::int64_t i = 0; i < t.count; ++i) {
      const __m256 low =
          _mm256_fmadd_ps(_mm256_set1_ps(*v1), signs1, _mm256_mul_ps(_mm256_set1_ps(*v0), signs0));
      const __m256 high =
          _mm256_fmadd_ps(_mm256_set1_ps(*v3), signs3, _mm256_mul_ps(_mm256_set1_ps(*v2), signs2));
      _mm256_store_ps(out, _mm256_add_ps(low, high));
      v0 += t.step;
      v1 += t.step;
      v2 += t.step;
      v3 += t.step;
      out += t.pitch;
    }
  }
}

void transpose(const std::uint64_t* rows, int blocks, std::uint32_t* words) {
  // Bytes of two rows side by side: a 128-bit lane is eight pairs, one a column of bytes. Rows 0 … 15 are in
  // the low lanes, rows 16 … 31 in the high ones.
  const __m256i pairs =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
  __m256i a[8];
  __m256i b[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const auto half = [&](int row) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + row)); };
    a[i] = _mm256_shuffle_epi8(
        _mm256_inserti128_si256(_mm256_castsi128_si256(half(2 * i)), half(16 + 2 * i), 1), pairs);
  }
  // The 8 × 8 pairs of each half, transposed.
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    b[i] = _mm256_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
    b[4 + i] = _mm256_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
#pragma GCC unroll 2
    for (int high = 0; high < 2; ++high) {
      a[4 * high + i] = _mm256_unpacklo_epi32(b[4 * high + 2 * i], b[4 * high + 2 * i + 1]);
      a[4 * high + 2 + i] = _mm256_unpackhi_epi32(b[4 * high + 2 * i], b[4 * high + 2 * i + 1]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    b[2 * i] = _mm256_unpacklo_epi64(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm256_unpackhi_epi64(a[2 * i], a[2 * i + 1]);
  }
  for (int column = 0; column < 2 * blocks; ++column) {
    __m256i v = b[column];
#pragma GCC unroll 8
    for (int bit = 7; bit >= 0; --bit) {
      words[column * 8 + bit] = static_cast<std::uint32_t>(_mm256_movemask_epi8(v));
      v = _mm256_add_epi8(v, v);
    }
  }
}

__m256i load(const std::uint32_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }

void window(const SignWindow& w) {
  const std::uint32_t* words = w.words + w.from / 32 * w.word_pitch;
  const __m128i right = _mm_cvtsi64_si128(w.from % 32);
  const __m128i rest = _mm_cvtsi64_si128(32 - w.from % 32);
  const __m128i left = _mm_cvtsi64_si128(w.to);
  const __m256i kept = _mm256_set1_epi32(
      static_cast<int>(w.count == 32 ? ~std::uint32_t{0} : (std::uint32_t{1} << w.count) - 1));
  std::uint32_t* out = w.out;
  for (std::int64_t i = 0; i < w.blocks * (sign_sum_block / lanes); ++i, words += lanes, out += lanes) {
    const __m256i low = _mm256_srl_epi32(load(words), right);
    const __m256i high = _mm256_sll_epi32(load(words + w.word_pitch), rest);
    const __m256i bits = _mm256_sll_epi32(_mm256_and_si256(_mm256_or_si256(low, high), kept), left);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_or_si256(load(out), bits));
  }
}

/// Table `g` of eight.
template <int rows, int g>
void add_tables(const float* const* tables, std::ptrdiff_t table, __m256i words, __m256i relative,
                __m256 (&sums)[rows]) {
  const __m256i index = _mm256_srli_epi32(relative, 4 * g);
  const __m256 flip = _mm256_castsi256_ps(
      _mm256_and_si256(_mm256_slli_epi32(words, 28 - 4 * g), _mm256_set1_epi32(sign_bit)));
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    const __m256 sum =
        _mm256_permutevar8x32_ps(_mm256_load_ps(tables[r] + table + g * sign_sum_table), index);
    sums[r] = _mm256_add_ps(sums[r], _mm256_xor_ps(sum, flip));
  }
}

template <int rows>
void sum_lanes(const SignSumTile& tile, int first) {
  __m256 sums[rows];
  const float* tables[rows];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    sums[r] = _mm256_setzero_ps();
    tables[r] = tile.tables[r];
  }
  for (std::int64_t s = 0; s < tile.segments; ++s) {
    std::ptrdiff_t table = tile.table_segments[s];
    const std::uint32_t* from = tile.words + tile.word_segments[s] + first;
    for (std::int64_t left = tile.groups; left > 0; left -= 8, from += tile.word_pitch) {
      const __m256i words = load(from);
      // The low three signs of each four are turned where the highest one is +1, that is set.
      const __m256i highest = _mm256_and_si256(words, _mm256_set1_epi32(static_cast<int>(0x88888888U)));
      const __m256i relative =
          _mm256_xor_si256(words, _mm256_sub_epi32(highest, _mm256_srli_epi32(highest, 3)));
      add_tables<rows, 0>(tables, table, words, relative, sums);
      if (left > 1) add_tables<rows, 1>(tables, table, words, relative, sums);
      if (left > 2) add_tables<rows, 2>(tables, table, words, relative, sums);
      if (left > 3) add_tables<rows, 3>(tables, table, words, relative, sums);
      if (left > 4) add_tables<rows, 4>(tables, table, words, relative, sums);
      if (left > 5) add_tables<rows, 5>(tables, table, words, relative, sums);
      if (left > 6) add_tables<rows, 6>(tables, table, words, relative, sums);
      if (left > 7) add_tables<rows, 7>(tables, table, words, relative, sums);
      table += 8 * sign_sum_table;
    }
  }
  const int width = tile.lanes - first < lanes ? tile.lanes - first : lanes;
  const __m256i there =
      _mm256_cmpgt_epi32(_mm256_set1_epi32(width), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    float* const out = tile.out[r] + first;
    if (tile.add) sums[r] = _mm256_add_ps(_mm256_maskload_ps(out, there), sums[r]);
    _mm256_maskstore_ps(out, there, sums[r]);
  }
}

template <int rows>
void sum_tile(const SignSumTile& tile) {
  for (int first = 0; first < tile.lanes; first += lanes) sum_lanes<rows>(tile, first);
}

void sum(const SignSumTile& tile) {
  switch (tile.rows) {
    case 1:
      return sum_tile<1>(tile);
    case 2:
      return sum_tile<2>(tile);
    case 3:
      return sum_tile<3>(tile);
    case 4:
      return sum_tile<4>(tile);
    case 5:
      return sum_tile<5>(tile);
    default:
      return sum_tile<sign_sum_rows>(tile);
  }
}

/// Permutations, flips and additions of 8 sums, two tables by four vectors of signs.
std::uint64_t limit(std::int64_t iterations) {
  __m256 sums[2][4];
  __m256 tables[2];
  __m256i index[4];
  __m256 flips = _mm256_setzero_ps();
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    index[j] = _mm256_set1_epi32(j);
    sums[0][j] = sums[1][j] = _mm256_setzero_ps();
  }
  tables[0] = _mm256_set1_ps(1);
  tables[1] = _mm256_set1_ps(2);
  for (std::int64_t n = 0; n < iterations; ++n) {
    // Nothing may be looked up or flipped once for all iterations.
    asm volatile("" : "+x"(index[0]), "+x"(index[1]), "+x"(index[2]), "+x"(index[3]), "+x"(flips));
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const __m256 sum = _mm256_permutevar8x32_ps(tables[i], index[j]);
        sums[i][j] = _mm256_add_ps(sums[i][j], _mm256_xor_ps(sum, flips));
      }
    }
  }
  alignas(32) float all[lanes];
  _mm256_store_ps(
      all, _mm256_add_ps(_mm256_add_ps(_mm256_add_ps(sums[0][0], sums[0][1]), sums[0][2]),
                         _mm256_add_ps(_mm256_add_ps(sums[1][0], sums[1][1]),
                                       _mm256_add_ps(_mm256_add_ps(sums[0][3], sums[1][2]), sums[1][3]))));
  return static_cast<std::uint64_t>(all[0]);
}

}  // namespace

constinit const Limit sums_limit_avx2 = {"sums", Isa::avx2, 8 * lanes* sign_sum_values, limit};

constinit const SignSumKernels sign_sum_avx2{.name = "sign_sum_avx2",
                                             .isa = Isa::avx2,
                                             .tables = tables,
                                             .transpose = transpose,
                                             .window = window,
                                             .sum = sum};

}  // namespace hardbit::cpu
