#if defined(__x86_64__)
// GCC 12 takes the "undefined" operands inside its own intrinsics for uninitialised variables (its bug
// 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include "cpu/kernels/product_carry.h"

// AVX-512 F, BW, DQ, VL and VNNI: bits are summed by full adders, bytes by vpdpbusd.

namespace hardbit::cpu {

constinit const ProductKernel bits_avx512vnni = carry::kernel("bits_8x64_avx512vnni", Isa::avx512vnni);
constinit const ProductKernel bytes_avx512vnni =
    tile::kernel<Integers, Bytes, 6, 4>("bytes_6x64_avx512vnni", Isa::avx512vnni, Operand::bytes);
constinit const FloatKernel float_avx512vnni =
    tile::float_kernel<Floats, MultiplyThenAdd, 6, 4>("float_6x64_avx512vnni", Isa::avx512vnni);

constinit const Limit popcount_limit_avx512vnni = {"popcount", Isa::avx512vnni, carry::block * 512,
                                                   carry::limit};
constinit const Limit int8_limit_avx512vnni = {"int8", Isa::avx512vnni, 16 * 64,
                                               tile::limit<Integers, Bytes, 4, 4>};
constinit const Limit fp32_limit_avx512vnni = {"fp32", Isa::avx512vnni, 16 * 16,
                                               tile::limit<Floats, FusedMultiplyAdd, 4, 4>};

}  // namespace hardbit::cpu
#endif
