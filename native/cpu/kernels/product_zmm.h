#pragma once
#include <immintrin.h>

#include "cpu/kernels/product_tile.h"

// Vectors of 512 bits for product_tile.h: AVX-512 F, BW, DQ and VL, which all files of AVX-512 have. All of
// it is in the unnamed namespace of each.

namespace hardbit::cpu {
namespace {

/// The lowest n of 16 lanes, 1 ≤ n.
inline __mmask16 lanes16(int n) { return n >= 16 ? 0xffff : static_cast<__mmask16>((1U << n) - 1); }

struct Integers {
  using Word = std::uint32_t;
  using Vector = __m512i;
  using Mask = __mmask16;
  static constexpr int lanes = 16;

  static constexpr int wide = 64;

  static void interleave(const std::uint8_t* rows, std::int64_t pitch, std::int64_t width, std::uint8_t flip,
                         std::int64_t at, std::uint8_t* const* groups) {
    const __mmask64 first = width < wide ? (__mmask64{1} << width) - 1 : ~__mmask64{0};
    const __m512i flips = _mm512_maskz_set1_epi8(first, static_cast<char>(flip));
    const auto row = [&](int i) {
      return _mm512_xor_si512(_mm512_maskz_loadu_epi8(first, rows + i * pitch), flips);
    };
    const __m512i a = row(0);
    const __m512i b = row(1);
    const __m512i c = row(2);
    const __m512i d = row(3);
    // Words of channels 0 … 3 of each sixteen, of 4 … 7, 8 … 11 and 12 … 15; then the sixteens apart.
    const __m512i ab = _mm512_unpacklo_epi8(a, b);
    const __m512i cd = _mm512_unpacklo_epi8(c, d);
    const __m512i ab_high = _mm512_unpackhi_epi8(a, b);
    const __m512i cd_high = _mm512_unpackhi_epi8(c, d);
    const __m512i u0 = _mm512_unpacklo_epi16(ab, cd);
    const __m512i u1 = _mm512_unpackhi_epi16(ab, cd);
    const __m512i u2 = _mm512_unpacklo_epi16(ab_high, cd_high);
    const __m512i u3 = _mm512_unpackhi_epi16(ab_high, cd_high);
    const __m512i v0 = _mm512_shuffle_i32x4(u0, u1, 0x88);
    const __m512i v1 = _mm512_shuffle_i32x4(u0, u1, 0xDD);
    const __m512i v2 = _mm512_shuffle_i32x4(u2, u3, 0x88);
    const __m512i v3 = _mm512_shuffle_i32x4(u2, u3, 0xDD);
    _mm512_storeu_si512(groups[0] + at, _mm512_shuffle_i32x4(v0, v2, 0x88));
    if (width > 16) _mm512_storeu_si512(groups[1] + at, _mm512_shuffle_i32x4(v1, v3, 0x88));
    if (width > 32) _mm512_storeu_si512(groups[2] + at, _mm512_shuffle_i32x4(v0, v2, 0xDD));
    if (width > 48) _mm512_storeu_si512(groups[3] + at, _mm512_shuffle_i32x4(v1, v3, 0xDD));
  }

  static Vector zero() { return _mm512_setzero_si512(); }
  static Vector add(Vector a, Vector b) { return _mm512_add_epi32(a, b); }
  static Vector load(const std::uint32_t* words) { return _mm512_loadu_si512(words); }
  static Vector load(const std::int32_t* numbers) { return _mm512_loadu_si512(numbers); }
  static Vector load(const std::uint16_t* numbers) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(numbers)));
  }
  static Vector broadcast(const std::uint8_t* word) {
    std::int32_t value;
    __builtin_memcpy(&value, word, 4);
    return _mm512_set1_epi32(value);
  }
  static Vector broadcast(std::int32_t value) { return _mm512_set1_epi32(value); }
  static std::uint64_t first(Vector v) {
    return static_cast<std::uint32_t>(_mm_cvtsi128_si32(_mm512_castsi512_si128(v)));
  }
  static Mask below(Vector sums, const std::int32_t* thresholds) {
    return _mm512_cmple_epi32_mask(sums, load(thresholds));
  }
  static Vector combine(const std::int32_t* offsets, Vector factor, Vector sums) {
    return _mm512_sub_epi32(load(offsets), _mm512_mullo_epi32(factor, sums));
  }
  static void store(Mask mask, int n, std::uint8_t* out) {
    if (n > 8) {
      const auto bits = static_cast<std::uint16_t>(mask & lanes16(n));
      __builtin_memcpy(out, &bits, 2);
    } else {
      *out = static_cast<std::uint8_t>(mask & lanes16(n));
    }
  }
  static void store(Vector value, int n, std::int16_t* out) {
    const __m256i low = _mm512_cvtepi32_epi16(value);
    if (n >= lanes) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), low);
    } else {
      _mm256_mask_storeu_epi16(out, lanes16(n), low);
    }
  }
  static void store(Vector value, int n, std::int32_t* out) {
    if (n >= lanes) {
      _mm512_storeu_si512(out, value);
    } else {
      _mm512_mask_storeu_epi32(out, lanes16(n), value);
    }
  }
};

/// Four products of bytes a lane: by VNNI where the file is compiled with it, else by pairs in 16 bits.
struct Bytes {
  static constexpr int ahead = 16;
  static constexpr bool one_plane = true;

  static __m512i step(__m512i sum, __m512i x, __m512i w) {
#if defined(__AVX512VNNI__)
    return _mm512_dpbusd_epi32(sum, x, w);
#else
    return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(x, w), _mm512_set1_epi16(1)));
#endif
  }
};

struct Floats {
  using Word = float;
  using Vector = __m512;
  static constexpr int lanes = 16;

  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static Vector load(const float* words) { return _mm512_loadu_ps(words); }
  static Vector broadcast(const std::uint8_t* word) {
    float value;
    __builtin_memcpy(&value, word, 4);
    return _mm512_set1_ps(value);
  }
  static Vector broadcast(int value) { return _mm512_set1_ps(static_cast<float>(value)); }
  static std::uint64_t first(Vector v) { return Integers::first(_mm512_castps_si512(v)); }
  static void store(Vector value, int n, float* out) {
    if (n >= lanes) {
      _mm512_storeu_ps(out, value);
    } else {
      _mm512_mask_storeu_ps(out, lanes16(n), value);
    }
  }
};

/// Multiply, round, add, round: see FloatKernel. Files that include this are compiled without contraction.
struct MultiplyThenAdd {
  static __m512 step(__m512 sum, __m512 x, __m512 w) { return _mm512_add_ps(sum, _mm512_mul_ps(x, w)); }
};

/// One rounding: for the limit alone.
struct FusedMultiplyAdd {
  static __m512 step(__m512 sum, __m512 x, __m512 w) { return _mm512_fmadd_ps(x, w, sum); }
};

}  // namespace
}  // namespace hardbit::cpu
