#if defined(__x86_64__)
// GCC 12 takes the "undefined" operands inside its own intrinsics for uninitialised variables (its bug
// 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include "cpu/kernels/table.h"

// AVX-512 F, BW, VL and VPOPCNTDQ. Intrinsics and functions of internal linkage only, see table.h.

namespace hardbit::cpu {
namespace {

constexpr int row_tile = 8;
constexpr int group_tile = 3;
constexpr int vector_lanes = 8;
static_assert(row_tile * group_tile * vector_lanes <= max_tile);

// Packed weights: [ceil(channels / 8)][words][8], a vector holds one word of eight channels:
//
//   channel      c    c+1  …  c+7   (lanes of one vector)
//   word k     w[k]   w[k] …  w[k]
//   word k+1   …
void pack(const std::uint64_t* w, std::int64_t channels, std::int64_t words, std::uint64_t* packed) {
  for (std::int64_t c = 0; c < channels; c += vector_lanes) {
    const std::int64_t present = channels - c < vector_lanes ? channels - c : vector_lanes;
    for (std::int64_t k = 0; k < words; ++k, packed += vector_lanes) {
      for (std::int64_t lane = 0; lane < present; ++lane) packed[lane] = w[(c + lane) * words + k];
      for (std::int64_t lane = present; lane < vector_lanes; ++lane) packed[lane] = 0;
    }
  }
}

// One broadcast word of activations meets `groups` vectors of weights: xor, popcount, add, and no horizontal
// sum. 8×3 sums, 3 weights and a temporary fill the 32 registers. Planes by Horner's rule, highest first.
template <int rows, int groups>
void tile(const BgemmTile& t) {
  __m512i sums[rows][groups];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 3
    for (int g = 0; g < groups; ++g) sums[r][g] = _mm512_setzero_si512();
  }
  for (int p = t.planes - 1; p >= 0; --p) {
    const std::uint64_t* x = t.x + p * t.plane_stride;
    const std::uint64_t* w = t.w;
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 3
      for (int g = 0; g < groups; ++g) sums[r][g] = _mm512_add_epi64(sums[r][g], sums[r][g]);
    }
    for (std::int64_t k = 0; k < t.words; ++k, ++x, w += vector_lanes) {
      __m512i weights[groups];
#pragma GCC unroll 3
      for (int g = 0; g < groups; ++g) weights[g] = _mm512_loadu_si512(w + g * t.words * vector_lanes);
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) {
        const __m512i word = _mm512_set1_epi64(static_cast<long long>(x[r * t.row_stride]));
#pragma GCC unroll 3
        for (int g = 0; g < groups; ++g) {
          sums[r][g] = _mm512_add_epi64(sums[r][g], _mm512_popcnt_epi64(_mm512_xor_si512(weights[g], word)));
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 3
    for (int g = 0; g < groups; ++g) {
      _mm256_storeu_si256(
          reinterpret_cast<__m256i*>(t.sums + r * group_tile * vector_lanes + g * vector_lanes),
          _mm512_cvtepi64_epi32(sums[r][g]));
    }
  }
}

using Tile = void (*)(const BgemmTile&);
constexpr Tile tiles[row_tile][group_tile] = {
    {tile<1, 1>, tile<1, 2>, tile<1, 3>}, {tile<2, 1>, tile<2, 2>, tile<2, 3>},
    {tile<3, 1>, tile<3, 2>, tile<3, 3>}, {tile<4, 1>, tile<4, 2>, tile<4, 3>},
    {tile<5, 1>, tile<5, 2>, tile<5, 3>}, {tile<6, 1>, tile<6, 2>, tile<6, 3>},
    {tile<7, 1>, tile<7, 2>, tile<7, 3>}, {tile<8, 1>, tile<8, 2>, tile<8, 3>},
};

void run(const BgemmTile& t) { tiles[t.rows - 1][(t.columns - 1) / vector_lanes](t); }

// The lowest n of 16 (of 64) lanes, n ≥ 0.
__mmask16 lanes16(std::int64_t n) { return n >= 16 ? 0xffff : static_cast<__mmask16>((1u << n) - 1); }
__mmask64 lanes64(std::int64_t n) { return n >= 64 ? ~0ull : (1ull << n) - 1; }

__m512 absolute(__m512 x) {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff)));
}

// Calls body(element, lane mask, word, quarter of it) for each 16 elements of each row.
template <class Body>
void for_quarters(std::int64_t rows, std::int64_t columns, const Body& body) {
  std::int64_t word = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; c += 64, ++word) {
      for (int quarter = 0; quarter < 4 && c + quarter * 16 < columns; ++quarter) {
        const std::int64_t i = c + quarter * 16;
        body(r * columns + i, lanes16(columns - i), word, quarter);
      }
    }
  }
}

// One word of bits from up to 64 floats.
template <class Compare>
std::uint64_t compare_word(const float* x, std::int64_t n, const Compare& compare) {
  std::uint64_t word = 0;
  for (int i = 0; i < 64 && i < n; i += 16) {
    const __mmask16 lanes = lanes16(n - i);
    word |= static_cast<std::uint64_t>(compare(lanes, _mm512_maskz_loadu_ps(lanes, x + i))) << i;
  }
  return word;
}

__mmask16 is_plus(__mmask16 lanes, __m512 x) {
  return _mm512_mask_cmp_ps_mask(lanes, x, _mm512_setzero_ps(), _CMP_GE_OQ);
}

__mmask16 is_inside(__mmask16 lanes, __m512 x) {
  return _mm512_mask_cmp_ps_mask(lanes, absolute(x), _mm512_set1_ps(1.0F), _CMP_LE_OQ);
}

void pack_signs(const float* x, std::int64_t rows, std::int64_t columns, std::uint64_t* bits) {
  for (std::int64_t r = 0; r < rows; ++r, x += columns) {
    for (std::int64_t c = 0; c < columns; c += 64) *bits++ = compare_word(x + c, columns - c, is_plus);
  }
}

void unpack_signs(const std::uint64_t* bits, std::int64_t rows, std::int64_t columns, float* x) {
  for_quarters(rows, columns, [=](std::int64_t i, __mmask16 lanes, std::int64_t word, int quarter) {
    const __mmask16 plus = static_cast<__mmask16>(bits[word] >> (16 * quarter));
    _mm512_mask_storeu_ps(x + i, lanes,
                          _mm512_mask_blend_ps(plus, _mm512_set1_ps(-1.0F), _mm512_set1_ps(1.0F)));
  });
}

void sign_forward(const float* x, std::int64_t rows, std::int64_t columns, std::uint64_t* signs,
                  std::uint64_t* mask) {
  for (std::int64_t r = 0; r < rows; ++r, x += columns) {
    for (std::int64_t c = 0; c < columns; c += 64) {
      *signs++ = compare_word(x + c, columns - c, is_plus);
      *mask++ = compare_word(x + c, columns - c, is_inside);
    }
  }
}

void mask_backward(const float* dy, const std::uint64_t* mask, std::int64_t rows, std::int64_t columns,
                   float* dx) {
  for_quarters(rows, columns, [=](std::int64_t i, __mmask16 lanes, std::int64_t word, int quarter) {
    const __mmask16 inside = static_cast<__mmask16>(mask[word] >> (16 * quarter));
    _mm512_mask_storeu_ps(dx + i, lanes, _mm512_maskz_loadu_ps(lanes & inside, dy + i));
  });
}

void approx_sign_backward(const float* dy, const float* x, std::int64_t count, float* dx) {
  for (std::int64_t i = 0; i < count; i += 16) {
    const __mmask16 lanes = lanes16(count - i);
    const __m512 a = absolute(_mm512_maskz_loadu_ps(lanes, x + i));
    const __mmask16 inside = _mm512_mask_cmp_ps_mask(lanes, a, _mm512_set1_ps(1.0F), _CMP_LE_OQ);
    const __m512 slope = _mm512_sub_ps(_mm512_set1_ps(2.0F), _mm512_add_ps(a, a));
    _mm512_mask_storeu_ps(dx + i, lanes,
                          _mm512_maskz_mul_ps(inside, _mm512_maskz_loadu_ps(lanes, dy + i), slope));
  }
}

void discretize(const float* x, std::int64_t count, int bits, std::uint8_t* codes) {
  const __m512 levels = _mm512_set1_ps(static_cast<float>((1 << bits) - 1));
  for (std::int64_t i = 0; i < count; i += 16) {
    const __mmask16 lanes = lanes16(count - i);
    const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + i), levels);
    __m512 t = _mm512_add_ps(scaled, _mm512_set1_ps(0.5F));
    t = _mm512_min_ps(_mm512_max_ps(t, _mm512_setzero_ps()),
                      levels);  // max gives its second operand for a NaN
    _mm512_mask_cvtepi32_storeu_epi8(codes + i, lanes, _mm512_cvttps_epi32(t));
  }
}

void codes_to_float(const std::uint8_t* codes, std::int64_t count, int bits, float* x) {
  const __m512 levels = _mm512_set1_ps(static_cast<float>((1 << bits) - 1));
  for (std::int64_t i = 0; i < count; i += 16) {
    const __mmask16 lanes = lanes16(count - i);
    const __m512i code = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, codes + i));
    _mm512_mask_storeu_ps(x + i, lanes, _mm512_div_ps(_mm512_cvtepi32_ps(code), levels));
  }
}

// A bit test of 64 codes gives the plane's word as a mask register.
std::uint8_t pack_planes(const std::uint8_t* codes, std::int64_t rows, std::int64_t columns, int bits,
                         std::uint64_t* planes) {
  const std::int64_t words = (columns + 63) / 64;
  __m512i any = _mm512_setzero_si512();
  for (std::int64_t r = 0; r < rows; ++r, codes += columns, planes += bits * words) {
    for (std::int64_t k = 0; k < words; ++k) {
      const __m512i code = _mm512_maskz_loadu_epi8(lanes64(columns - k * 64), codes + k * 64);
      any = _mm512_or_si512(any, code);
      __m512i bit = _mm512_set1_epi8(1);
      for (int p = 0; p < bits; ++p) {
        planes[p * words + k] = _mm512_test_epi8_mask(code, bit);
        bit = _mm512_add_epi8(bit, bit);
      }
    }
  }
  std::uint32_t all = static_cast<std::uint32_t>(_mm512_reduce_or_epi32(any));
  all |= all >> 16;
  return static_cast<std::uint8_t>(all | all >> 8);
}

void write(std::int16_t* out, __m256i v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_cvtepi32_epi16(v));
}
void write(std::int32_t* out, __m256i v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), v); }
void write(std::int16_t* out, __mmask8 lanes, __m256i v) {
  _mm_mask_storeu_epi16(out, lanes, _mm256_cvtepi32_epi16(v));
}
void write(std::int32_t* out, __mmask8 lanes, __m256i v) { _mm256_mask_storeu_epi32(out, lanes, v); }

// Eight columns at a time, as tile() wrote them: a wider load would wait for two stores to reach the cache.
// The copy keeps the compiler from reading the fields again after each store.
template <class Out>
void store(const TileStore<Out>& tile_store) {
  const TileStore<Out> t = tile_store;
  const __m256i factor = _mm256_set1_epi32(t.factor);
  for (int r = 0; r < t.rows; ++r) {
    const std::uint32_t* sums = t.sums + r * t.nr;
    Out* out = t.out + r * t.stride;
    int c = 0;
    for (; c + 8 <= t.columns; c += 8) {
      const __m256i sum = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + c));
      const __m256i offset = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.offsets + c));
      write(out + c, _mm256_sub_epi32(offset, _mm256_mullo_epi32(factor, sum)));
    }
    if (c < t.columns) {
      const auto lanes = static_cast<__mmask8>(lanes16(t.columns - c));
      const __m256i sum = _mm256_maskz_loadu_epi32(lanes, sums + c);
      const __m256i offset = _mm256_maskz_loadu_epi32(lanes, t.offsets + c);
      write(out + c, lanes, _mm256_sub_epi32(offset, _mm256_mullo_epi32(factor, sum)));
    }
  }
}

}  // namespace

constinit const Bgemm bgemm_8x24_avx512 = {
    "bgemm_8x24_avx512", Isa::avx512, row_tile, group_tile* vector_lanes, 64, vector_lanes, pack, run};

constinit const BitKernels bit_kernels_avx512 = {
    Isa::avx512, pack_signs,     unpack_signs, sign_forward,        mask_backward,       approx_sign_backward,
    discretize,  codes_to_float, pack_planes,  store<std::int16_t>, store<std::int32_t>,
};

}  // namespace hardbit::cpu
#endif
