#if defined(__x86_64__)
// GCC 12 takes the "undefined" operands inside its own intrinsics for uninitialised variables (its bug
// 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include "cpu/kernels/product_lookup.h"
#include "cpu/kernels/product_zmm.h"

// AVX-512 F, BW, DQ and VL: bits are counted by table.

namespace hardbit::cpu {
namespace {

struct Lookups {
  using Integers = cpu::Integers;
  using Vector = __m512i;
  static constexpr int lanes = 64;

  static Vector zero() { return _mm512_setzero_si512(); }
  static Vector load(const std::uint8_t* bytes) { return _mm512_loadu_si512(bytes); }
  static Vector table(const std::uint8_t* bytes) {
    return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes)));
  }
  static Vector broadcast(int value) { return _mm512_set1_epi32(value); }
  static Vector add(Vector a, Vector b) { return _mm512_add_epi8(a, b); }
  static Vector lookup(Vector table, Vector indices) { return _mm512_shuffle_epi8(table, indices); }
  static void widen(Vector sums, std::uint16_t* parts) {
    _mm512_storeu_si512(parts, _mm512_unpacklo_epi8(sums, zero()));
    _mm512_storeu_si512(parts + 32, _mm512_unpackhi_epi8(sums, zero()));
  }
  static void widen_and_add(Vector sums, std::uint16_t* parts) {
    const Vector low = _mm512_unpacklo_epi8(sums, zero());
    const Vector high = _mm512_unpackhi_epi8(sums, zero());
    _mm512_storeu_si512(parts, _mm512_add_epi16(_mm512_loadu_si512(parts), low));
    _mm512_storeu_si512(parts + 32, _mm512_add_epi16(_mm512_loadu_si512(parts + 32), high));
  }
  static std::uint64_t first(Vector v) { return Integers::first(v); }
};

struct Bytes {
  static __m512i step(__m512i sum, __m512i x, __m512i w) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(x, w), _mm512_set1_epi16(1)));
  }
};

}  // namespace

constinit const ProductKernel bits_avx512bw =
    lookup::kernel<Lookups, 4, 2>("bits_4x128_avx512bw", Isa::avx512bw);
constinit const ProductKernel bytes_avx512bw =
    tile::kernel<Integers, Bytes, 6, 4>("bytes_6x64_avx512bw", Isa::avx512bw, Operand::bytes);
constinit const FloatKernel float_avx512bw =
    tile::float_kernel<Floats, MultiplyThenAdd, 6, 4>("float_6x64_avx512bw", Isa::avx512bw);

constinit const Limit popcount_limit_avx512bw = {"popcount", Isa::avx512bw, 16 * 64 * 4,
                                                 tile::limit<Lookups, lookup::Lookup<Lookups>, 4, 4>};
constinit const Limit int8_limit_avx512bw = {"int8", Isa::avx512bw, 16 * 64,
                                             tile::limit<Integers, Bytes, 4, 4>};
constinit const Limit fp32_limit_avx512bw = {"fp32", Isa::avx512bw, 16 * 16,
                                             tile::limit<Floats, FusedMultiplyAdd, 4, 4>};

}  // namespace hardbit::cpu
#endif
