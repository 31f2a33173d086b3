#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "cpu/kernels/product.h"

// Product kernels whose vectors hold one 32-bit word of `lanes` channels, written once for every instruction
// set that has such vectors. Packed weights are [ceil(channels / lanes)][words][lanes]:
//
//                    channel   c   c+1  …  c+lanes−1
//                    word k    w    w   …  w
//                    word k+1  w    w   …  w
//
// One word of activations, broadcast, meets a few vectors of weights; nothing is summed across lanes.
//
// An instruction set's file names its vectors by a type V of its unnamed namespace. That gives all of these
// templates internal linkage, as product.h demands:
//
//   Word, Vector, Mask, lanes           u32 or f32; Vector holds `lanes` sums
//   zero(), add(a, b), load(words), broadcast(bytes of one word)
//   below(sums, thresholds) → Mask      signed ≤
//   combine(offsets, factor, sums)      offsets − factor·sums
//   store(value, n, out)                the first n lanes, 1 ≤ n; all of them where n ≥ lanes. value is a
//   Mask,
//                                       or a Vector that becomes i16, i32 or f32
//   broadcast(number), first(vector)    for limits: a lane's bits
//   wide, interleave(rows, pitch, width, flip, at, groups)
//                                       of bytes: four rows of `width` ≤ wide bytes, ^ flip, become wide /
//                                       lanes groups of `lanes` words, one byte a row in each, at bytes
//                                       behind groups[g]; zeros behind `width`, and groups that begin there
//                                       are not written

namespace hardbit::cpu::tile {

template <class V>
std::size_t packed_bytes(std::int64_t channels, std::int64_t words) {
  return static_cast<std::size_t>((channels + V::lanes - 1) / V::lanes * V::lanes * words) * 4;
}

template <class V>
void pack_words(const typename V::Word* w, std::int64_t channels, std::int64_t words,
                typename V::Word* packed) {
  for (std::int64_t c = 0; c < channels; c += V::lanes) {
    for (std::int64_t k = 0; k < words; ++k) {
      for (std::int64_t lane = c; lane < c + V::lanes; ++lane) {
        *packed++ = lane < channels ? w[lane * words + k] : typename V::Word{0};
      }
    }
  }
}

template <class V>
void pack(const std::uint32_t* w, std::int64_t channels, std::int64_t words, void* packed) {
  pack_words<V>(w, channels, words, static_cast<std::uint32_t*>(packed));
}

template <class V>
void pack_rows(const std::uint8_t* w, std::int64_t pitch, std::int64_t channels, std::int64_t count,
               std::uint8_t flip, std::int64_t words, void* packed) {
  constexpr std::int64_t word = 4 * V::lanes;
  auto* const out = static_cast<std::uint8_t*>(packed);
  for (std::int64_t c = 0; c < channels; c += V::wide) {
    const std::int64_t width = channels - c < V::wide ? channels - c : V::wide;
    std::uint8_t* groups[V::wide / V::lanes];
    for (std::int64_t g = 0; g < V::wide / V::lanes; ++g) groups[g] = out + (c / V::lanes + g) * words * word;
    for (std::int64_t k = 0; k < count; ++k)
      V::interleave(w + 4 * k * pitch + c, pitch, width, flip, k * word, groups);
  }
}

/// Weights that windows do not meet, see ProductTile; nothing costs nothing.
struct All {
  static constexpr std::int64_t skip = 0;
  static constexpr std::int64_t rest = 0;
};
struct Some {
  std::int64_t skip;
  std::int64_t rest;
};

/// The rows' pointers stay in registers; one index moves along all of them. Weights come from the second
/// cache: with `ahead` they are asked for Arithmetic::ahead vectors before they are used, which costs
/// registers that short segments need for themselves.
template <class V, class Arithmetic, bool ahead, class Met, int rows, int vectors>
[[gnu::always_inline]] inline void sums_of(const Windows& windows, int planes, std::ptrdiff_t plane_pitch,
                                           const typename V::Word* packed, const Met& met,
                                           typename V::Vector (&sums)[rows][vectors]) {
  const std::int64_t group = (windows.segments * windows.segment_words + met.rest) * V::lanes;
  const std::ptrdiff_t run = windows.segment_words * 4;
  const std::ptrdiff_t* const last = windows.offsets + windows.segments;
  const std::uint8_t* x[rows];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
    x[r] = windows.x[r];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) sums[r][v] = V::zero();
  }
  const auto add_plane = [&](std::ptrdiff_t plane) __attribute__((always_inline)) {
    const typename V::Word* w = packed;
    for (const std::ptrdiff_t* offset = windows.offsets; offset != last; ++offset, w += met.skip * V::lanes) {
      std::ptrdiff_t i = *offset + plane;
      const std::ptrdiff_t end = i + run;
      for (; i != end; i += 4, w += V::lanes) {
        typename V::Vector weights[vectors];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v) {
          weights[v] = V::load(w + v * group);
          if constexpr (ahead) __builtin_prefetch(w + v * group + Arithmetic::ahead * V::lanes);
        }
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r) {
          const typename V::Vector word = V::broadcast(x[r] + i);
#pragma GCC unroll 8
          for (int v = 0; v < vectors; ++v) sums[r][v] = Arithmetic::step(sums[r][v], word, weights[v]);
        }
      }
    }
  };
  if constexpr (requires { Arithmetic::one_plane; }) {
    add_plane(0);
  } else {
    for (int p = planes - 1;; --p) {  // Horner's rule, the highest plane first
      add_plane(p * plane_pitch);
      if (p == 0) break;
#pragma GCC unroll 16
      for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v) sums[r][v] = V::add(sums[r][v], sums[r][v]);
      }
    }
  }
}

/// What becomes of the sums: the one that is not null. A tile has one loop and three ends, for its code is
/// mostly the loop.
struct Stores {
  const BitStore* bits;
  const SumStore<std::int16_t>* i16;
  const SumStore<std::int32_t>* i32;
};

template <class V, int rows, int vectors>
[[gnu::always_inline]] inline void store_bits(const BitStore& store, int columns,
                                              const typename V::Vector (&sums)[rows][vectors]) {
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
    const std::int32_t* const thresholds = store.thresholds[r];
    std::uint8_t* const out = store.out[r];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      const int c = v * V::lanes;
      V::store(V::below(sums[r][v], thresholds + c), v + 1 < vectors ? V::lanes : columns - c, out + c / 8);
    }
  }
}

template <class V, class Out, int rows, int vectors>
[[gnu::always_inline]] inline void store_sums(const SumStore<Out>& store, int columns,
                                              const typename V::Vector (&sums)[rows][vectors]) {
  const typename V::Vector factor = V::broadcast(store.factor);
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
    const std::int32_t* const offsets = store.offsets[r];
    Out* const out = store.out[r];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      const int c = v * V::lanes;
      V::store(V::combine(offsets + c, factor, sums[r][v]), v + 1 < vectors ? V::lanes : columns - c,
               out + c);
    }
  }
}

/// The same of sums that lie in memory: sums(row, channel) loads those from a vector's first channel on.
template <class V, class Sums>
[[gnu::always_inline]] inline void store_each(const Stores& stores, int rows, int columns, const Sums& sums) {
  const auto each = [&](const auto& store) {
    for (int r = 0; r < rows; ++r) {
      int c = 0;
      for (; c + V::lanes <= columns; c += V::lanes) store(r, c, V::lanes);
      if (c < columns) store(r, c, columns - c);
    }
  };
  const auto combined = [&](const auto& store) {
    const typename V::Vector factor = V::broadcast(store.factor);
    each([&](int r, int c, int n) {
      V::store(V::combine(store.offsets[r] + c, factor, sums(r, c)), n, store.out[r] + c);
    });
  };
  if (stores.bits != nullptr) {
    each([&](int r, int c, int n) {
      V::store(V::below(sums(r, c), stores.bits->thresholds[r] + c), n, stores.bits->out[r] + c / 8);
    });
  } else if (stores.i16 != nullptr) {
    combined(*stores.i16);
  } else {
    combined(*stores.i32);
  }
}

template <class V, class Arithmetic, class Met, int rows, int vectors>
void product(const ProductTile& t, const Stores& stores) {
  typename V::Vector sums[rows][vectors];
  const auto* w = static_cast<const std::uint32_t*>(t.w);
  constexpr std::int64_t long_segment = 24;  // words
  if constexpr (!std::is_same_v<Met, All>) {
    w += t.w_first * V::lanes;
    sums_of<V, Arithmetic, false>(t.windows, t.planes, t.plane_pitch, w, Some{t.w_skip, t.w_rest}, sums);
  } else if constexpr (!requires { Arithmetic::ahead; }) {
    sums_of<V, Arithmetic, false>(t.windows, t.planes, t.plane_pitch, w, All{}, sums);
  } else if (t.windows.segment_words >= long_segment) {
    sums_of<V, Arithmetic, true>(t.windows, t.planes, t.plane_pitch, w, All{}, sums);
  } else {
    sums_of<V, Arithmetic, false>(t.windows, t.planes, t.plane_pitch, w, All{}, sums);
  }
  if (stores.bits != nullptr) {
    store_bits<V>(*stores.bits, t.columns, sums);
  } else if (stores.i16 != nullptr) {
    store_sums<V>(*stores.i16, t.columns, sums);
  } else {
    store_sums<V>(*stores.i32, t.columns, sums);
  }
}

template <class V, class Arithmetic, int rows, int vectors>
void float_product(const FloatTile& t) {
  typename V::Vector sums[rows][vectors];
  sums_of<V, Arithmetic, false>(t.windows, 1, 0, t.w, All{}, sums);
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
    float* const out = t.out[r];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      const int c = v * V::lanes;
      V::store(V::add(sums[r][v], V::load(t.bias + c)), v + 1 < vectors ? V::lanes : t.columns - c, out + c);
    }
  }
}

using Product = void (*)(const ProductTile&, const Stores&);

/// The functions above for 1 … mr rows and 1 … vectors vectors, and for mr rows and some of the weights.
template <class V, class Arithmetic, int mr, int vectors>
struct Products {
  Product of[mr + 1][vectors] = {};
  template <int r = 1, int v = 1>
  constexpr void fill() {
    if constexpr (r <= mr) {
      of[r - 1][v - 1] = product<V, Arithmetic, All, r, v>;
    } else {
      of[r - 1][v - 1] = product<V, Arithmetic, Some, mr, v>;
    }
    if constexpr (v < vectors) {
      fill<r, v + 1>();
    } else if constexpr (r <= mr) {
      fill<r + 1, 1>();
    }
  }
  constexpr Products() { fill(); }
};

template <class V, class Arithmetic, int mr, int vectors>
struct FloatProducts {
  void (*of[mr][vectors])(const FloatTile&) = {};
  template <int r = 1, int v = 1>
  constexpr void fill() {
    of[r - 1][v - 1] = float_product<V, Arithmetic, r, v>;
    if constexpr (v < vectors) {
      fill<r, v + 1>();
    } else if constexpr (r < mr) {
      fill<r + 1, 1>();
    }
  }
  constexpr FloatProducts() { fill(); }
};

template <class V, class Arithmetic, int mr, int vectors>
void run(const ProductTile& t, const Stores& stores) {
  static constexpr Products<V, Arithmetic, mr, vectors> products;
  products.of[t.w_rest == 0 ? t.rows - 1 : mr][(t.columns - 1) / V::lanes](t, stores);
}

// A product as the three functions of a row. Templates over a function of internal linkage have it too.

template <Product product>
void with_bits(const ProductTile& t, const BitStore& store) {
  product(t, {&store, nullptr, nullptr});
}

template <Product product>
void with_i16(const ProductTile& t, const SumStore<std::int16_t>& store) {
  product(t, {nullptr, &store, nullptr});
}

template <Product product>
void with_i32(const ProductTile& t, const SumStore<std::int32_t>& store) {
  product(t, {nullptr, nullptr, &store});
}

template <class V, class Arithmetic, int mr, int vectors>
void run_float(const FloatTile& t) {
  static constexpr FloatProducts<V, Arithmetic, mr, vectors> products;
  products.of[t.rows - 1][(t.columns - 1) / V::lanes](t);
}

template <class V>
constexpr auto rows_of(Operand operand) {
  return operand == Operand::bytes ? pack_rows<V> : nullptr;
}

template <class V, class Arithmetic, int mr, int vectors>
constexpr ProductKernel kernel(const char* name, Isa isa, Operand operand) {
  static_assert(mr <= max_product_rows && mr * vectors * V::lanes <= max_product_tile);
  return {.name = name,
          .isa = isa,
          .operand = operand,
          .mr = mr,
          .nr = vectors * V::lanes,
          .lanes = V::lanes,
          .packed_bytes = packed_bytes<V>,
          .pack = pack<V>,
          .pack_rows = rows_of<V>(operand),
          .store_bits = with_bits<run<V, Arithmetic, mr, vectors>>,
          .store_i16 = with_i16<run<V, Arithmetic, mr, vectors>>,
          .store_i32 = with_i32<run<V, Arithmetic, mr, vectors>>};
}

template <class V, class Arithmetic, int mr, int vectors>
constexpr FloatKernel float_kernel(const char* name, Isa isa) {
  static_assert(mr <= max_product_rows && mr * vectors * V::lanes <= max_product_tile);
  return {.name = name,
          .isa = isa,
          .mr = mr,
          .nr = vectors * V::lanes,
          .lanes = V::lanes,
          .packed_bytes = packed_bytes<V>,
          .pack = pack_words<V>,
          .run = run_float<V, Arithmetic, mr, vectors>};
}

/// A limit: the step of a kernel over registers alone, xs·ws independent sums. The empty assembler statement
/// makes the compiler believe that its operands change, so that nothing leaves the loop.
template <class V, class Arithmetic, int xs, int ws>
std::uint64_t limit(std::int64_t iterations) {
  typename V::Vector x[xs];
  typename V::Vector w[ws];
  typename V::Vector sums[xs][ws];
#pragma GCC unroll 8
  for (int i = 0; i < xs; ++i) {
    x[i] = V::broadcast(i + 1);
#pragma GCC unroll 8
    for (int j = 0; j < ws; ++j) sums[i][j] = V::zero();
  }
#pragma GCC unroll 8
  for (int j = 0; j < ws; ++j) w[j] = V::broadcast(64 - j);
  for (std::int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 8
    for (int j = 0; j < ws; ++j) asm volatile("" : "+v"(w[j]));
#pragma GCC unroll 8
    for (int i = 0; i < xs; ++i) {
      asm volatile("" : "+v"(x[i]));
#pragma GCC unroll 8
      for (int j = 0; j < ws; ++j) {
        sums[i][j] = Arithmetic::step(sums[i][j], x[i], w[j]);
        asm volatile("" : "+v"(sums[i][j]));
      }
    }
  }
  typename V::Vector total = V::zero();
#pragma GCC unroll 8
  for (int i = 0; i < xs; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < ws; ++j) total = V::add(total, sums[i][j]);
  }
  return V::first(total);
}

}  // namespace hardbit::cpu::tile
