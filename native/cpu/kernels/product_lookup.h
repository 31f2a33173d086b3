#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "cpu/kernels/product_tile.h"

// Products of bits where the CPU counts no bits in vectors, but looks up bytes (vpshufb). Four bits of
// activations choose one of sixteen tables, popcount(x ^ w) by w; four bits of weights of `lanes` channels, a
// byte each, are the indices. One lookup and one addition so stand for xor, popcount and addition of 4·lanes
// bits; counting by halves of bytes would take three times as many instructions.
//
// Packed weights are [ceil(channels / lanes)][words][8][lanes] bytes 0 … 15: twice the size of the bits. The
// channels of a vector are in an order that suits widening its bytes, see position_of().
//
// V, of an instruction set's unnamed namespace:
//   Vector, lanes                    bytes
//   zero(), load(bytes), table(16 bytes), add(a, b)
//   lookup(table, indices)
//   widen(sums, u16 [lanes])         stores the sums in the order of channels
//   widen_and_add(sums, u16 [lanes]) adds them
//   Integers                         the vectors of 32 bits of product_tile.h, which also load(i32 or u16)

namespace hardbit::cpu::lookup {

/// tables[x][w]: of four bits each.
struct Tables {
  alignas(64) std::uint8_t of[16][16] = {};
  constexpr Tables() {
    for (unsigned x = 0; x < 16; ++x) {
      for (unsigned w = 0; w < 16; ++w) of[x][w] = static_cast<std::uint8_t>(__builtin_popcount(x ^ w));
    }
  }
};
static constexpr Tables tables;

/// Words whose counts fit a byte.
static constexpr int word_tile = 255 / 32;
/// Products of so many words fit 16 bits.
static constexpr int words_of_16_bits = 65535 / 32;

/// Where a channel lies in its vector. Interleaving a vector's bytes with zeros works on each sixteen of them
/// by themselves: this order makes the lower halves the first channels.
template <class V>
int position_of(int channel) {
  const int half = channel / (V::lanes / 2);
  const int eight = channel % (V::lanes / 2) / 8;
  return eight * 16 + half * 8 + channel % 8;
}

template <class V>
std::size_t packed_bytes(std::int64_t channels, std::int64_t words) {
  return static_cast<std::size_t>((channels + V::lanes - 1) / V::lanes * V::lanes * words * 8);
}

template <class V>
void pack(const std::uint32_t* w, std::int64_t channels, std::int64_t words, void* packed) {
  auto* to = static_cast<std::uint8_t*>(packed);
  for (std::int64_t c = 0; c < channels; c += V::lanes) {
    for (std::int64_t k = 0; k < words; ++k, to += 8 * V::lanes) {
      for (int lane = 0; lane < V::lanes; ++lane) {
        const std::uint32_t word = c + lane < channels ? w[(c + lane) * words + k] : 0;
        for (int i = 0; i < 8; ++i) {
          to[i * V::lanes + position_of<V>(lane)] = static_cast<std::uint8_t>(word >> (4 * i) & 15);
        }
      }
    }
  }
}

/// Sums of a tile, sums + parts, and the activations that are next.
template <class V, int rows, int vectors>
struct State {
  static constexpr int columns = vectors * V::lanes;
  bool has_sums = false;
  bool has_parts = false;
  alignas(64) std::int32_t sums[rows][columns];
  alignas(64) std::uint16_t parts[rows][columns];
  /// Offsets into the tables, one for four bits: word_tile words, and what prepare() may write behind them.
  alignas(64) std::uint8_t next[rows][96];
};

/// Four bits a byte, times sixteen: the offsets of their tables.
static inline void prepare_16(__m128i bytes, std::uint8_t* next) {
  const __m128i low = _mm_slli_epi16(_mm_and_si128(bytes, _mm_set1_epi8(0x0f)), 4);
  const __m128i high = _mm_and_si128(bytes, _mm_set1_epi8(static_cast<char>(0xf0)));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(next), _mm_unpacklo_epi8(low, high));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(next + 16), _mm_unpackhi_epi8(low, high));
}

/// Prepares `words` words of a row. May write rubbish for up to three more.
static inline void prepare(const std::uint8_t* x, int words, std::uint8_t* next) {
  for (; words >= 4; words -= 4, x += 16, next += 32) {
    prepare_16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)), next);
  }
  if (words >= 2) {
    std::int64_t two;
    __builtin_memcpy(&two, x, 8);
    std::int32_t third = 0;
    if (words > 2) __builtin_memcpy(&third, x + 8, 4);
    prepare_16(_mm_set_epi64x(third, two), next);
  } else if (words > 0) {
    std::int32_t one;
    __builtin_memcpy(&one, x, 4);
    prepare_16(_mm_cvtsi32_si128(one), next);
  }
}

/// Counts `words` words. A function of its own, and the empty assembler statement, keep the sums in
/// registers.
template <class V, int rows, int vectors>
[[gnu::noinline]] void count(State<V, rows, vectors>& state, const std::uint8_t* w, std::int64_t group,
                             int words) {
  const std::uint8_t* const first_table = tables.of[0];
  typename V::Vector sums[rows][vectors];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) sums[r][v] = V::zero();
  }
  for (std::ptrdiff_t i = 0; i < words * 8; ++i, w += V::lanes) {
    typename V::Vector weights[vectors];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) weights[v] = V::load(w + v * group);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      const typename V::Vector table = V::table(first_table + state.next[r][i]);
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) {
        sums[r][v] = V::add(sums[r][v], V::lookup(table, weights[v]));
        asm("" : "+v"(sums[r][v]));
      }
    }
  }
  if (state.has_parts) {
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) V::widen_and_add(sums[r][v], state.parts[r] + v * V::lanes);
    }
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) V::widen(sums[r][v], state.parts[r] + v * V::lanes);
    }
  }
  state.has_parts = true;
}

/// The sums of a row from channel c on.
template <class V, int rows, int vectors>
[[gnu::always_inline]] inline auto sums_of(const State<V, rows, vectors>& state, int r, int c) {
  using Integers = typename V::Integers;
  const auto sums = state.has_parts ? Integers::load(state.parts[r] + c) : Integers::zero();
  return state.has_sums ? Integers::add(Integers::load(state.sums[r] + c), sums) : sums;
}

/// Moves the sums of 16 bits to those of 32, twice where the next plane follows.
template <class V, int rows, int vectors>
[[gnu::noinline]] void spill(State<V, rows, vectors>& state, bool twice) {
  using Integers = typename V::Integers;
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < state.columns; c += Integers::lanes) {
      const auto sums = sums_of(state, r, c);
      Integers::store(twice ? Integers::add(sums, sums) : sums, Integers::lanes, state.sums[r] + c);
    }
  }
  state.has_sums = true;
  state.has_parts = false;
}

template <class V, int rows, int vectors>
void product(const ProductTile& t, const tile::Stores& stores) {
  using Integers = typename V::Integers;
  State<V, rows, vectors> state;
  const Windows& windows = t.windows;
  const std::int64_t group = (windows.segments * windows.segment_words + t.w_rest) * 8 * V::lanes;
  for (int p = t.planes - 1;; --p) {  // Horner's rule, the highest plane first
    const auto* w = static_cast<const std::uint8_t*>(t.w) + t.w_first * 8 * V::lanes;
    int filled = 0;   // words prepared
    int counted = 0;  // words in parts
    const auto flush = [&] {
      if (counted + filled > words_of_16_bits) {
        spill(state, false);
        counted = 0;
      }
      count(state, w, group, filled);
      w += filled * 8 * V::lanes;
      counted += filled;
      filled = 0;
    };
    for (std::int64_t s = 0; s < windows.segments; ++s) {
      std::ptrdiff_t i = windows.offsets[s] + p * t.plane_pitch;
      for (std::int64_t left = windows.segment_words; left > 0;) {
        const int taken = left < word_tile - filled ? static_cast<int>(left) : word_tile - filled;
        for (int r = 0; r < rows; ++r) prepare(windows.x[r] + i, taken, state.next[r] + filled * 8);
        filled += taken;
        left -= taken;
        i += taken * 4;
        if (filled == word_tile) flush();
      }
      if (t.w_skip > 0) {
        if (filled > 0) flush();
        w += t.w_skip * 8 * V::lanes;
      }
    }
    if (filled > 0) flush();
    if (p == 0) break;
    spill(state, true);
  }
  tile::store_each<Integers>(stores, rows, t.columns, [&](int r, int c) { return sums_of(state, r, c); });
}

template <class V>
struct Lookup {
  static typename V::Vector step(typename V::Vector sum, typename V::Vector table, typename V::Vector w) {
    return V::add(sum, V::lookup(table, w));
  }
};

template <class V, int mr, int vectors>
struct Products {
  tile::Product of[mr][vectors] = {};
  template <int r = 1, int v = 1>
  constexpr void fill() {
    of[r - 1][v - 1] = product<V, r, v>;
    if constexpr (v < vectors) {
      fill<r, v + 1>();
    } else if constexpr (r < mr) {
      fill<r + 1, 1>();
    }
  }
  constexpr Products() { fill(); }
};

template <class V, int mr, int vectors>
void run(const ProductTile& t, const tile::Stores& stores) {
  static constexpr Products<V, mr, vectors> products;
  products.of[t.rows - 1][(t.columns - 1) / V::lanes](t, stores);
}

template <class V, int mr, int vectors>
constexpr ProductKernel kernel(const char* name, Isa isa) {
  static_assert(mr <= max_product_rows && mr * vectors * V::lanes <= max_product_tile);
  return {.name = name,
          .isa = isa,
          .operand = Operand::bits,
          .mr = mr,
          .nr = vectors * V::lanes,
          .lanes = V::lanes,
          .packed_bytes = packed_bytes<V>,
          .pack = pack<V>,
          .store_bits = tile::with_bits<run<V, mr, vectors>>,
          .store_i16 = tile::with_i16<run<V, mr, vectors>>,
          .store_i32 = tile::with_i32<run<V, mr, vectors>>};
}

}  // namespace hardbit::cpu::lookup
