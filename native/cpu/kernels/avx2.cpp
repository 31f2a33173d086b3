#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

#include "cpu/kernels/table.h"

// AVX2 without FMA. Intrinsics and functions of internal linkage only, see table.h.

namespace hardbit::cpu {
namespace {

__m256 absolute(__m256 x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), x); }

// Eight bits as eight lanes of all ones or all zeros.
__m256 expand(std::uint8_t bits) {
  const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(bits), lane), lane));
}

// Loads and stores of the first n of eight elements, 1 ≤ n; the rest reads as zero.
__m256 load(const float* x, std::int64_t n) {
  if (n >= 8) return _mm256_loadu_ps(x);
  float part[8] = {};
  std::memcpy(part, x, static_cast<std::size_t>(n) * sizeof(float));
  return _mm256_loadu_ps(part);
}

void store_floats(float* x, std::int64_t n, __m256 v) {
  if (n >= 8) return _mm256_storeu_ps(x, v);
  float part[8];
  _mm256_storeu_ps(part, v);
  std::memcpy(x, part, static_cast<std::size_t>(n) * sizeof(float));
}

// Calls body(element, elements left in the row, byte of the bits) for each 8 elements of each row.
template <class Body>
void for_eighths(std::int64_t rows, std::int64_t columns, const Body& body) {
  const std::int64_t row_bytes = (columns + 63) / 64 * 8;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; c += 8) body(r * columns + c, columns - c, r * row_bytes + c / 8);
  }
}

// One word of bits from up to 64 floats.
template <class Compare>
std::uint64_t compare_word(const float* x, std::int64_t n, const Compare& compare) {
  std::uint64_t word = 0;
  for (int i = 0; i < 64 && i < n; i += 8) {
    const auto eight = static_cast<std::uint32_t>(_mm256_movemask_ps(compare(load(x + i, n - i))));
    word |= static_cast<std::uint64_t>(eight) << i;
  }
  return n < 64 ? word & ((1ull << n) - 1) : word;
}

__m256 is_plus(__m256 x) { return _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GE_OQ); }
__m256 is_inside(__m256 x) { return _mm256_cmp_ps(absolute(x), _mm256_set1_ps(1.0F), _CMP_LE_OQ); }

void pack_signs(const float* x, std::int64_t rows, std::int64_t columns, std::uint64_t* bits) {
  for (std::int64_t r = 0; r < rows; ++r, x += columns) {
    for (std::int64_t c = 0; c < columns; c += 64) *bits++ = compare_word(x + c, columns - c, is_plus);
  }
}

void unpack_signs(const std::uint64_t* bits, std::int64_t rows, std::int64_t columns, float* x) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(bits);
  for_eighths(rows, columns, [=](std::int64_t i, std::int64_t n, std::int64_t byte) {
    store_floats(x + i, n,
                 _mm256_blendv_ps(_mm256_set1_ps(-1.0F), _mm256_set1_ps(1.0F), expand(bytes[byte])));
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
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(mask);
  for_eighths(rows, columns, [=](std::int64_t i, std::int64_t n, std::int64_t byte) {
    store_floats(dx + i, n, _mm256_and_ps(load(dy + i, n), expand(bytes[byte])));
  });
}

void approx_sign_backward(const float* dy, const float* x, std::int64_t count, float* dx) {
  for (std::int64_t i = 0; i < count; i += 8) {
    const __m256 v = load(x + i, count - i);
    const __m256 a = absolute(v);
    const __m256 slope = _mm256_sub_ps(_mm256_set1_ps(2.0F), _mm256_add_ps(a, a));
    const __m256 product = _mm256_mul_ps(load(dy + i, count - i), slope);
    store_floats(dx + i, count - i, _mm256_and_ps(product, is_inside(v)));
  }
}

void discretize(const float* x, std::int64_t count, int bits, std::uint8_t* codes) {
  const __m256 levels = _mm256_set1_ps(static_cast<float>((1 << bits) - 1));
  for (std::int64_t i = 0; i < count; i += 8) {
    const __m256 scaled = _mm256_mul_ps(load(x + i, count - i), levels);
    __m256 t = _mm256_add_ps(scaled, _mm256_set1_ps(0.5F));
    t = _mm256_min_ps(_mm256_max_ps(t, _mm256_setzero_ps()),
                      levels);  // max gives its second operand for a NaN
    const __m256i code = _mm256_cvttps_epi32(t);
    const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1));
    const std::int64_t packed = _mm_cvtsi128_si64(_mm_packus_epi16(halves, halves));
    if (count - i >= 8) {
      std::memcpy(codes + i, &packed, 8);
    } else {
      std::memcpy(codes + i, &packed, static_cast<std::size_t>(count - i));
    }
  }
}

void codes_to_float(const std::uint8_t* codes, std::int64_t count, int bits, float* x) {
  const __m256 levels = _mm256_set1_ps(static_cast<float>((1 << bits) - 1));
  for (std::int64_t i = 0; i < count; i += 8) {
    std::int64_t packed = 0;
    if (count - i >= 8) {
      std::memcpy(&packed, codes + i, 8);
    } else {
      std::memcpy(&packed, codes + i, static_cast<std::size_t>(count - i));
    }
    const __m256i code = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(packed));
    store_floats(x + i, count - i, _mm256_div_ps(_mm256_cvtepi32_ps(code), levels));
  }
}

// Shifts the highest plane to the top of each byte, collects the tops, and doubles the bytes for the next
// plane.
std::uint8_t pack_planes(const std::uint8_t* codes, std::int64_t rows, std::int64_t columns, int bits,
                         std::uint64_t* planes) {
  const std::int64_t words = (columns + 63) / 64;
  const __m128i shift = _mm_cvtsi32_si128(8 - bits);
  __m256i any = _mm256_setzero_si256();
  for (std::int64_t r = 0; r < rows; ++r, codes += columns, planes += bits * words) {
    for (std::int64_t k = 0; k < words; ++k) {
      const std::uint8_t* from = codes + k * 64;
      std::uint8_t part[64];
      if (columns - k * 64 < 64) {
        std::memset(part, 0, sizeof part);
        std::memcpy(part, from, static_cast<std::size_t>(columns - k * 64));
        from = part;
      }
      __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
      __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 32));
      any = _mm256_or_si256(any, _mm256_or_si256(low, high));
      low = _mm256_sll_epi16(low, shift);
      high = _mm256_sll_epi16(high, shift);
      for (int p = bits - 1; p >= 0; --p) {
        const auto low_bits = static_cast<std::uint32_t>(_mm256_movemask_epi8(low));
        const auto high_bits = static_cast<std::uint32_t>(_mm256_movemask_epi8(high));
        planes[p * words + k] = static_cast<std::uint64_t>(high_bits) << 32 | low_bits;
        low = _mm256_add_epi8(low, low);
        high = _mm256_add_epi8(high, high);
      }
    }
  }
  std::uint8_t bytes[32];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes), any);
  std::uint8_t all = 0;
  for (const std::uint8_t byte : bytes) all = static_cast<std::uint8_t>(all | byte);
  return all;
}

}  // namespace

constinit const BitKernels bit_kernels_avx2 = {
    Isa::avx2,  pack_signs,     unpack_signs, sign_forward, mask_backward, approx_sign_backward,
    discretize, codes_to_float, pack_planes,
};

}  // namespace hardbit::cpu
#endif
