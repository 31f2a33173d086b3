#pragma once
#include <cstddef>
#include <cstdint>

#include "cpu/kernels/product_zmm.h"

// Products of bits where the CPU counts no bits in vectors, but combines three at will (vpternlog). A word of
// activations, broadcast, is combined with 16 channels' words of weights by XOR; full adders sum what comes
// out, in each bit's place by itself, as a number of binary digits that lie in four vectors:
//
//     digit 1, 2, 4, 8 of every bit's place: ones, twos, fours, eights
//
// A full adder takes two vectors into a digit and carries one to the next (two instructions). Sixteen words
// so cost 30 of them and 16 XORs, and what they carry out of the eights is all whose bits have to be counted:
// by table, four bits a lookup. The digits are counted once, behind the last word.
//
// Weights are packed as product_tile.h has them. All of it is in the unnamed namespace of each file.

namespace hardbit::cpu {
namespace {
namespace carry {

using Vector = __m512i;

constexpr int digits = 4;
/// Words whose sums leave the digits at once.
constexpr unsigned block = 1 << digits;

/// The number of ones of four bits, times each digit's weight.
struct Counts {
  alignas(64) std::uint8_t of[digits][64] = {};
  constexpr Counts() {
    for (int d = 0; d < digits; ++d) {
      for (unsigned i = 0; i < 64; ++i) of[d][i] = static_cast<std::uint8_t>(__builtin_popcount(i % 16) << d);
    }
  }
};
constexpr Counts counts;

/// The bits of each byte, times 2^digit.
[[gnu::always_inline]] inline Vector count(Vector bits, int digit) {
  const Vector table = _mm512_load_si512(counts.of[digit]);
  const Vector low_half = _mm512_set1_epi8(0x0f);
  const Vector low = _mm512_and_si512(bits, low_half);
  const Vector high = _mm512_and_si512(_mm512_srli_epi32(bits, 4), low_half);
  return _mm512_add_epi8(_mm512_shuffle_epi8(table, low), _mm512_shuffle_epi8(table, high));
}

/// The sums of a few rows: Σ 2^d·digit[d], and 16 times as many as `sixteens` has in its 32-bit lanes.
template <int rows>
struct Sums {
  Vector digit[digits][rows];
  Vector sixteens[rows];

  [[gnu::always_inline]] void clear() {
#pragma GCC unroll 4
    for (int d = 0; d < digits; ++d) {
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) digit[d][r] = _mm512_setzero_si512();
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) sixteens[r] = _mm512_setzero_si512();
  }

  /// Adds the 2^level words that begin with word k to the digits below `level`, and gives what they carry.
  template <int level, class Words>
  [[gnu::always_inline]] void add(const Words& words, unsigned k, Vector (&carried)[rows]) {
    if constexpr (level == 0) {
      words(k, carried);
    } else {
      Vector first[rows];
      Vector second[rows];
      add<level - 1>(words, k, first);
      add<level - 1>(words, k + (1U << (level - 1)), second);
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) {
        constexpr int parity = 0x96;
        // The first of two that are alike, else what the sum is not: so no input is needed once more.
        constexpr int majority = 0xD4;
        Vector& sum = digit[level - 1][r];
        sum = _mm512_ternarylogic_epi32(sum, first[r], second[r], parity);
        carried[r] = _mm512_ternarylogic_epi32(first[r], second[r], sum, majority);
      }
    }
  }

  template <class Words>
  [[gnu::always_inline]] void add_block(const Words& words, unsigned k) {
    Vector carried[rows];
    add<digits>(words, k, carried);
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      sixteens[r] = Bytes::step(sixteens[r], count(carried[r], 0), _mm512_set1_epi8(1));
    }
  }

  /// The same of a number of words below a block's, where the digits are zero: they carry nothing out.
  template <class Words>
  [[gnu::always_inline]] unsigned add_first(const Words& words, unsigned n) {
    unsigned k = 0;
    if ((n & 1) != 0) add<0>(words, k, digit[0]), k += 1;
    if ((n & 2) != 0) add<1>(words, k, digit[1]), k += 2;
    if ((n & 4) != 0) add<2>(words, k, digit[2]), k += 4;
    if ((n & 8) != 0) add<3>(words, k, digit[3]), k += 8;
    return k;
  }

  /// The sums, where they are of `words` words.
  [[gnu::always_inline]] void total(unsigned words, Vector (&sums)[rows]) const {
    Vector bytes[rows];
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) bytes[r] = count(digit[0][r], 0);
    const auto add = [&](int d) {
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) bytes[r] = _mm512_add_epi8(bytes[r], count(digit[d][r], d));
    };
    if (words >= 2) add(1);
    if (words >= 4) add(2);
    if (words >= 8) add(3);
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      sums[r] = Bytes::step(_mm512_slli_epi32(sixteens[r], digits), bytes[r], _mm512_set1_epi8(1));
    }
  }
};

constexpr int lanes = Integers::lanes;
constexpr int row_tile = 8;
constexpr int vector_tile = 4;
/// Rows that share each load of weights; their digits fit the registers.
constexpr int rows_at_once = 2;

/// Words of a window, in bytes from where a row and where a channel begins.
struct Places {
  /// Products of more words are sums of several.
  static constexpr unsigned most = 256;
  unsigned words = 0;
  std::ptrdiff_t x[most];
  std::ptrdiff_t w[most];
};

/// A tile's sums.
struct Tile {
  alignas(64) std::int32_t of[row_tile][vector_tile * lanes];
};

/// What a product does with the sums that are there.
enum class Before : std::uint8_t { none, add, add_twice };

/// The sums of 16 channels, `at_once` of the rows at a time: as many as that divides. Weights lie one word
/// behind the other, or at their places. Gives the row that is next.
template <int at_once, bool whole>
[[gnu::noinline]] int multiply(const std::uint8_t* const* x, int r, int rows, const std::uint8_t* w,
                               const Places& places, Before before, std::int32_t* out) {
  const unsigned count = places.words;
  for (; r + at_once <= rows; r += at_once) {
    const std::uint8_t* row[at_once];
#pragma GCC unroll 4
    for (int i = 0; i < at_once; ++i) row[i] = x[r + i];
    const auto words = [&](unsigned k, Vector(&word)[at_once]) {
      const Vector weights = _mm512_loadu_si512(w + (whole ? std::ptrdiff_t{k} * lanes * 4 : places.w[k]));
#pragma GCC unroll 4
      for (int i = 0; i < at_once; ++i) {
        word[i] = _mm512_xor_si512(weights, Integers::broadcast(row[i] + places.x[k]));
      }
    };
    Sums<at_once> sums;
    sums.clear();
    unsigned k = sums.add_first(words, count % block);
    for (; k < count; k += block) sums.add_block(words, k);
    Vector total[at_once];
    sums.total(count, total);
#pragma GCC unroll 4
    for (int i = 0; i < at_once; ++i) {
      std::int32_t* const to = out + (r + i) * vector_tile * lanes;
      if (before != Before::none) {
        Vector sum = _mm512_load_si512(to);
        if (before == Before::add_twice) sum = _mm512_add_epi32(sum, sum);
        total[i] = _mm512_add_epi32(total[i], sum);
      }
      _mm512_store_si512(to, total[i]);
    }
  }
  return r;
}

template <bool whole>
void product(const ProductTile& t, const tile::Stores& stores) {
  const Windows& windows = t.windows;
  const std::ptrdiff_t group = (windows.segments * windows.segment_words + t.w_rest) * lanes * 4;
  const int vectors = (t.columns + lanes - 1) / lanes;
  Tile sums;
  Places places;
  Before before = Before::none;
  for (int p = t.planes - 1; p >= 0; --p) {  // Horner's rule, the highest plane first
    const auto* w = static_cast<const std::uint8_t*>(t.w) + t.w_first * lanes * 4;
    std::ptrdiff_t at = 0;
    const auto multiply_all = [&] {
      for (int v = 0; v < vectors; ++v) {
        std::int32_t* const out = sums.of[0] + v * lanes;
        const std::uint8_t* const of_vector = w + v * group;
        const int r = multiply<rows_at_once, whole>(windows.x, 0, t.rows, of_vector, places, before, out);
        if (r < t.rows) multiply<1, whole>(windows.x, r, t.rows, of_vector, places, before, out);
      }
      w += at;
      at = 0;
      places.words = 0;
      before = Before::add;
    };
    for (std::int64_t s = 0; s < windows.segments; ++s, at += t.w_skip * lanes * 4) {
      std::ptrdiff_t x = windows.offsets[s] + p * t.plane_pitch;
      for (std::int64_t i = 0; i < windows.segment_words; ++i, x += 4, at += lanes * 4) {
        if (places.words == Places::most) multiply_all();
        places.x[places.words] = x;
        if (!whole) places.w[places.words] = at;
        ++places.words;
      }
    }
    multiply_all();
    before = Before::add_twice;
  }
  tile::store_each<Integers>(stores, t.rows, t.columns,
                             [&](int r, int c) { return Integers::load(sums.of[r] + c); });
}

void run(const ProductTile& t, const tile::Stores& stores) {
  (t.w_rest == 0 ? product<true> : product<false>)(t, stores);
}

constexpr ProductKernel kernel(const char* name, Isa isa) {
  return {.name = name,
          .isa = isa,
          .operand = Operand::bits,
          .mr = row_tile,
          .nr = vector_tile * lanes,
          .lanes = lanes,
          .packed_bytes = tile::packed_bytes<Integers>,
          .pack = tile::pack<Integers>,
          .store_bits = tile::with_bits<run>,
          .store_i16 = tile::with_i16<run>,
          .store_i32 = tile::with_i32<run>};
}

/// The limit: blocks over registers alone.
inline std::uint64_t limit(std::int64_t iterations) {
  Vector x[4];
  Vector w[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    x[i] = _mm512_set1_epi32(i + 1);
    w[i] = _mm512_set1_epi32(64 - i);
  }
  Sums<1> sums;
  sums.clear();
  for (std::int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) asm volatile("" : "+v"(x[i]), "+v"(w[i]));
    sums.add_block([&](unsigned k, Vector(&word)[1]) { word[0] = _mm512_xor_si512(x[k / 4], w[k % 4]); }, 0);
  }
  Vector total[1];
  sums.total(block, total);
  return Integers::first(total[0]);
}

}  // namespace carry
}  // namespace
}  // namespace hardbit::cpu
