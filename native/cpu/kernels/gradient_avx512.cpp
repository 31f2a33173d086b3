#include <immintrin.h>

#include "cpu/kernels/gradient_loops.h"

// AVX-512 without popcounts. Compilers do not see that Philox's products have 32-bit factors.

namespace hardbit::cpu {
namespace {

// GCC 12 would gather the sixteen numbers of a row one by one.
struct WideSource {
  static void scale_row(const std::int32_t* sums, const std::int32_t* minus, const float* factor,
                        const float* drop, float (&row)[side]) {
    const __m512 x =
        _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(sums), _mm512_loadu_si512(minus)));
    _mm512_store_ps(row, _mm512_mul_ps(_mm512_mul_ps(x, _mm512_loadu_ps(factor)), _mm512_loadu_ps(drop)));
  }

  static void put(const float (&row)[side], bool add, bool past, float* out) {
    const __m512 x = _mm512_load_ps(row);
    if (add) {
      _mm512_storeu_ps(out, _mm512_add_ps(_mm512_loadu_ps(out), x));
    } else if (past && reinterpret_cast<std::uintptr_t>(out) % 64 == 0) {
      _mm512_stream_ps(out, x);
    } else {
      _mm512_storeu_ps(out, x);
    }
  }

  static void end_rows() { _mm_sfence(); }

  static void load(const std::uint8_t* from, std::int64_t width, std::uint64_t (&bytes)[lanes]) {
    const __mmask64 first = width < 64 ? (__mmask64{1} << width) - 1 : ~__mmask64{0};
    _mm512_store_si512(bytes, _mm512_maskz_loadu_epi8(first, from));
  }

  static void transpose(Columns& v, std::uint8_t flip) {
    __m512i rows[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) rows[i] = _mm512_load_si512(v.of[i]);
    turn(rows);
    const __m512i flips = _mm512_set1_epi8(static_cast<char>(flip));
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) _mm512_store_si512(v.of[i], _mm512_xor_si512(rows[i], flips));
  }

  static void unpack(const std::uint64_t (&bits)[8], std::uint8_t zero, std::uint8_t one, Columns& v) {
    const __m512i zeros = _mm512_set1_epi8(static_cast<char>(zero));
    const __m512i ones = _mm512_set1_epi8(static_cast<char>(one));
    __m512i rows[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) rows[i] = _mm512_mask_blend_epi8(bits[i], zeros, ones);
    turn(rows);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) _mm512_store_si512(v.of[i], rows[i]);
  }

  /// Byte j of each 64 bits of rows[i] becomes byte i of those of rows[j].
  static void turn(__m512i (&rows)[8]) {
    swap<4>(rows, 0x00000000FFFFFFFF);
    swap<2>(rows, 0x0000FFFF0000FFFF);
    swap<1>(rows, 0x00FF00FF00FF00FF);
  }

  template <int distance>
  static void swap(__m512i (&rows)[8], std::int64_t low) {
    const __m512i mask = _mm512_set1_epi64(low);
    constexpr int choose = 0xCA;  // the second where the first is 1, else the third
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      if ((i & distance) != 0) continue;
      const __m512i a = rows[i];
      const __m512i b = rows[i + distance];
      rows[i] = _mm512_ternarylogic_epi64(mask, a, _mm512_slli_epi64(b, 8 * distance), choose);
      rows[i + distance] = _mm512_ternarylogic_epi64(mask, _mm512_srli_epi64(a, 8 * distance), b, choose);
    }
  }

  static void transpose(float (&tile)[side][side]) {
    __m512 v[side];
    __m512 t[side];
    for (int i = 0; i < side; ++i) v[i] = _mm512_load_ps(tile[i]);
    // 4 × 4 within each quarter of a register, then the quarters.
    for (int i = 0; i < side; i += 4) {
      const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(v[i], v[i + 1]));
      const __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(v[i], v[i + 1]));
      const __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(v[i + 2], v[i + 3]));
      const __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(v[i + 2], v[i + 3]));
      t[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
      t[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
      t[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
      t[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    for (int i = 0; i < 4; ++i) {
      const __m512 a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88);
      const __m512 b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xDD);
      const __m512 c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88);
      const __m512 d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xDD);
      _mm512_store_ps(tile[i], _mm512_shuffle_f32x4(a, c, 0x88));
      _mm512_store_ps(tile[i + 4], _mm512_shuffle_f32x4(b, d, 0x88));
      _mm512_store_ps(tile[i + 8], _mm512_shuffle_f32x4(a, c, 0xDD));
      _mm512_store_ps(tile[i + 12], _mm512_shuffle_f32x4(b, d, 0xDD));
    }
  }

  /// Eight counters at a time, one in the low half of each 64-bit lane; vpmuludq reads no more of a lane.
  static void words(const Draws& draws, std::uint32_t block, std::uint32_t* out) {
    const __m512i m0 = _mm512_set1_epi64(0xD2511F53);
    const __m512i m1 = _mm512_set1_epi64(0xCD9E8D57);
    for (std::uint32_t half = 0; half < 2; ++half) {
      __m512i c0 = _mm512_cvtepu32_epi64(_mm256_add_epi32(
          _mm256_set1_epi32(static_cast<int>(block + 8 * half)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)));
      __m512i c1 = _mm512_set1_epi64(static_cast<std::int64_t>(draws.step));
      __m512i c2 = _mm512_set1_epi64(static_cast<std::int64_t>(draws.step >> 32));
      __m512i c3 = _mm512_set1_epi64(draws.stream);
      auto k0 = static_cast<std::uint32_t>(draws.key);
      auto k1 = static_cast<std::uint32_t>(draws.key >> 32);
#pragma GCC unroll 10
      for (int round = 0; round < 10; ++round) {
        constexpr int xor_of_three = 0x96;
        const __m512i p0 = _mm512_mul_epu32(c0, m0);
        const __m512i p1 = _mm512_mul_epu32(c2, m1);
        c0 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), c1, _mm512_set1_epi64(k0), xor_of_three);
        c2 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), c3, _mm512_set1_epi64(k1), xor_of_three);
        c1 = p1;
        c3 = p0;
        k0 += 0x9E3779B9U;
        k1 += 0xBB67AE85U;
      }
      const auto pairs = [](__m512i even, __m512i odd) {
        return _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
      };
      _mm512_store_si512(out + half * 32, pairs(c0, c1));
      _mm512_store_si512(out + half * 32 + 16, pairs(c2, c3));
    }
  }
};

}  // namespace

constinit const GradientKernels gradient_avx512 = gradient_row<WideSource>("gradient_avx512", Isa::avx512bw);

}  // namespace hardbit::cpu
