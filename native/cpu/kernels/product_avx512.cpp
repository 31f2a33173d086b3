#if defined(__x86_64__)
// GCC 12 takes the "undefined" operands inside its own intrinsics for uninitialised variables (its bug
// 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include "cpu/kernels/product_zmm.h"

// AVX-512 with VPOPCNTDQ and VNNI.

namespace hardbit::cpu {
namespace {

// 24 sums, 4 vectors of weights, a broadcast word and temporaries fill the 32 registers.
constexpr int row_tile = 6;
constexpr int vector_tile = 4;

struct Popcount {
  static __m512i step(__m512i sum, __m512i x, __m512i w) {
    return _mm512_add_epi32(sum, _mm512_popcnt_epi32(_mm512_xor_si512(w, x)));
  }
};

}  // namespace

constinit const ProductKernel bits_avx512 =
    tile::kernel<Integers, Popcount, row_tile, vector_tile>("bits_6x64_avx512", Isa::avx512, Operand::bits);
constinit const ProductKernel bytes_avx512 =
    tile::kernel<Integers, Bytes, row_tile, vector_tile>("bytes_6x64_avx512", Isa::avx512, Operand::bytes);
constinit const FloatKernel float_avx512 =
    tile::float_kernel<Floats, MultiplyThenAdd, row_tile, vector_tile>("float_6x64_avx512", Isa::avx512);

constinit const Limit popcount_limit_avx512 = {"popcount", Isa::avx512, 16 * 512,
                                               tile::limit<Integers, Popcount, 4, 4>};
constinit const Limit int8_limit_avx512 = {"int8", Isa::avx512, 16 * 64, tile::limit<Integers, Bytes, 4, 4>};
constinit const Limit fp32_limit_avx512 = {"fp32", Isa::avx512, 16 * 16,
                                           tile::limit<Floats, FusedMultiplyAdd, 4, 4>};

}  // namespace hardbit::cpu
#endif
