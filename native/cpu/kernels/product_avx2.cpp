#if defined(__x86_64__)
#include <immintrin.h>

#include "cpu/kernels/product_lookup.h"
#include "cpu/kernels/product_tile.h"

// AVX2, and FMA for its limit alone: bits are counted by table.

namespace hardbit::cpu {
namespace {

// The lowest n of eight 32-bit lanes, 1 ≤ n.
__m256i lanes8(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

struct Integers {
  using Word = std::uint32_t;
  using Vector = __m256i;
  using Mask = int;
  static constexpr int lanes = 8;

  static Vector load_any(const void* bytes) { return _mm256_loadu_si256(static_cast<const __m256i*>(bytes)); }
  static constexpr int wide = 32;

  static void interleave(const std::uint8_t* rows, std::int64_t pitch, std::int64_t width, std::uint8_t flip,
                         std::int64_t at, std::uint8_t* const* groups) {
    alignas(32) std::uint8_t some[4][wide] = {};
    if (width < wide) {
      for (int i = 0; i < 4; ++i) {
        for (std::int64_t c = 0; c < width; ++c) some[i][c] = rows[i * pitch + c] ^ flip;
      }
      rows = some[0];
      pitch = wide;
      flip = 0;
    }
    const Vector flips = _mm256_set1_epi8(static_cast<char>(flip));
    const auto row = [&](int i) { return _mm256_xor_si256(load_any(rows + i * pitch), flips); };
    const auto store_any = [at](std::uint8_t* group, Vector words) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(group + at), words);
    };
    const Vector a = row(0);
    const Vector b = row(1);
    const Vector c = row(2);
    const Vector d = row(3);
    // Words of channels 0 … 3 of each sixteen, of 4 … 7, 8 … 11 and 12 … 15; then the sixteens apart.
    const Vector ab = _mm256_unpacklo_epi8(a, b);
    const Vector cd = _mm256_unpacklo_epi8(c, d);
    const Vector ab_high = _mm256_unpackhi_epi8(a, b);
    const Vector cd_high = _mm256_unpackhi_epi8(c, d);
    const Vector u0 = _mm256_unpacklo_epi16(ab, cd);
    const Vector u1 = _mm256_unpackhi_epi16(ab, cd);
    const Vector u2 = _mm256_unpacklo_epi16(ab_high, cd_high);
    const Vector u3 = _mm256_unpackhi_epi16(ab_high, cd_high);
    store_any(groups[0], _mm256_permute2x128_si256(u0, u1, 0x20));
    if (width > 8) store_any(groups[1], _mm256_permute2x128_si256(u2, u3, 0x20));
    if (width > 16) store_any(groups[2], _mm256_permute2x128_si256(u0, u1, 0x31));
    if (width > 24) store_any(groups[3], _mm256_permute2x128_si256(u2, u3, 0x31));
  }

  static Vector zero() { return _mm256_setzero_si256(); }
  static Vector add(Vector a, Vector b) { return _mm256_add_epi32(a, b); }
  static Vector load(const std::uint32_t* words) { return load_any(words); }
  static Vector load(const std::int32_t* numbers) { return load_any(numbers); }
  static Vector load(const std::uint16_t* numbers) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(numbers)));
  }
  static Vector broadcast(const std::uint8_t* word) {
    std::int32_t value;
    __builtin_memcpy(&value, word, 4);
    return _mm256_set1_epi32(value);
  }
  static Vector broadcast(std::int32_t value) { return _mm256_set1_epi32(value); }
  static std::uint64_t first(Vector v) {
    return static_cast<std::uint32_t>(_mm_cvtsi128_si32(_mm256_castsi256_si128(v)));
  }
  static Mask below(Vector sums, const std::int32_t* thresholds) {
    return ~_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(sums, load(thresholds))));
  }
  static Vector combine(const std::int32_t* offsets, Vector factor, Vector sums) {
    return _mm256_sub_epi32(load(offsets), _mm256_mullo_epi32(factor, sums));
  }
  static void store(Mask mask, int n, std::uint8_t* out) {
    *out = static_cast<std::uint8_t>(n >= lanes ? mask : mask & ((1 << n) - 1));
  }
  // The low halves of the lanes, which wraps like a cast.
  static void store(Vector value, int n, std::int16_t* out) {
    const Vector low = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1,  //
                                        0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m128i eight = _mm256_castsi256_si128(
        _mm256_permute4x64_epi64(_mm256_shuffle_epi8(value, low), _MM_SHUFFLE(3, 1, 2, 0)));
    if (n >= lanes) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), eight);
    } else {
      alignas(16) std::int16_t part[lanes];
      _mm_store_si128(reinterpret_cast<__m128i*>(part), eight);
      __builtin_memcpy(out, part, static_cast<std::size_t>(n) * sizeof(std::int16_t));
    }
  }
  static void store(Vector value, int n, std::int32_t* out) {
    if (n >= lanes) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), value);
    } else {
      _mm256_maskstore_epi32(out, lanes8(n), value);
    }
  }
};

struct Lookups {
  using Integers = cpu::Integers;
  using Vector = __m256i;
  static constexpr int lanes = 32;

  static Vector zero() { return _mm256_setzero_si256(); }
  static Vector load(const std::uint8_t* bytes) { return Integers::load_any(bytes); }
  static Vector table(const std::uint8_t* bytes) {
    return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes)));
  }
  static Vector broadcast(int value) { return _mm256_set1_epi32(value); }
  static Vector add(Vector a, Vector b) { return _mm256_add_epi8(a, b); }
  static Vector lookup(Vector table, Vector indices) { return _mm256_shuffle_epi8(table, indices); }
  static void widen(Vector sums, std::uint16_t* parts) {
    auto* const to = reinterpret_cast<__m256i*>(parts);
    _mm256_storeu_si256(to, _mm256_unpacklo_epi8(sums, zero()));
    _mm256_storeu_si256(to + 1, _mm256_unpackhi_epi8(sums, zero()));
  }
  static void widen_and_add(Vector sums, std::uint16_t* parts) {
    auto* const to = reinterpret_cast<__m256i*>(parts);
    const Vector low = _mm256_unpacklo_epi8(sums, zero());
    const Vector high = _mm256_unpackhi_epi8(sums, zero());
    _mm256_storeu_si256(to, _mm256_add_epi16(_mm256_loadu_si256(to), low));
    _mm256_storeu_si256(to + 1, _mm256_add_epi16(_mm256_loadu_si256(to + 1), high));
  }
  static std::uint64_t first(Vector v) { return Integers::first(v); }
};

struct Bytes {
  static constexpr bool one_plane = true;

  static __m256i step(__m256i sum, __m256i x, __m256i w) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), _mm256_set1_epi16(1)));
  }
};

struct Floats {
  using Word = float;
  using Vector = __m256;
  static constexpr int lanes = 8;

  static Vector zero() { return _mm256_setzero_ps(); }
  static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static Vector load(const float* words) { return _mm256_loadu_ps(words); }
  static Vector broadcast(const std::uint8_t* word) {
    float value;
    __builtin_memcpy(&value, word, 4);
    return _mm256_set1_ps(value);
  }
  static Vector broadcast(int value) { return _mm256_set1_ps(static_cast<float>(value)); }
  static std::uint64_t first(Vector v) { return Integers::first(_mm256_castps_si256(v)); }
  static void store(Vector value, int n, float* out) {
    if (n >= lanes) {
      _mm256_storeu_ps(out, value);
    } else {
      _mm256_maskstore_ps(out, lanes8(n), value);
    }
  }
};

// Multiply, round, add, round: see FloatKernel. This file is compiled without contraction.
struct MultiplyThenAdd {
  static __m256 step(__m256 sum, __m256 x, __m256 w) { return _mm256_add_ps(sum, _mm256_mul_ps(x, w)); }
};

struct FusedMultiplyAdd {
  static __m256 step(__m256 sum, __m256 x, __m256 w) { return _mm256_fmadd_ps(x, w, sum); }
};

}  // namespace

// 12 sums, 2 vectors of weights, a vector of activations and a temporary fill the 16 registers.
constinit const ProductKernel bits_avx2 = lookup::kernel<Lookups, 6, 2>("bits_6x64_avx2", Isa::avx2);
constinit const ProductKernel bytes_avx2 =
    tile::kernel<Integers, Bytes, 6, 2>("bytes_6x16_avx2", Isa::avx2, Operand::bytes);
constinit const FloatKernel float_avx2 =
    tile::float_kernel<Floats, MultiplyThenAdd, 6, 2>("float_6x16_avx2", Isa::avx2);

constinit const Limit popcount_limit_avx2 = {"popcount", Isa::avx2, 8 * 32 * 4,
                                             tile::limit<Lookups, lookup::Lookup<Lookups>, 4, 2>};
constinit const Limit int8_limit_avx2 = {"int8", Isa::avx2, 8 * 32, tile::limit<Integers, Bytes, 4, 2>};
constinit const Limit fp32_limit_avx2 = {"fp32", Isa::avx2, 10 * 8,
                                         tile::limit<Floats, FusedMultiplyAdd, 5, 2>};

}  // namespace hardbit::cpu
#endif
