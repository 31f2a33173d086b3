#if defined(__x86_64__)
// GCC 12 takes the "undefined" operands inside its own intrinsics for uninitialised variables (its bug
// 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include "cpu/kernels/table.h"

// AVX-512 F, BW and VL. Intrinsics and functions of internal linkage only, see table.h.

namespace hardbit::cpu {
namespace {

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

}  // namespace

constinit const BitKernels bit_kernels_avx512 = {
    Isa::avx512bw,        pack_signs, unpack_signs,   sign_forward, mask_backward,
    approx_sign_backward, discretize, codes_to_float, pack_planes,
};

}  // namespace hardbit::cpu
#endif
