#if defined(__x86_64__)
// GCC 12 takes the "undefined" operands inside its own intrinsics for uninitialised variables (its bug
// 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include "cpu/kernels/product_carry.h"

// AVX-512 F, BW, DQ and VL: bits are summed by full adders.

namespace hardbit::cpu {

constinit const ProductKernel bits_avx512bw = carry::kernel("bits_8x64_avx512bw", Isa::avx512bw);
constinit const ProductKernel bytes_avx512bw =
    tile::kernel<Integers, Bytes, 6, 4>("bytes_6x64_avx512bw", Isa::avx512bw, Operand::bytes);
constinit const FloatKernel float_avx512bw =
    tile::float_kernel<Floats, MultiplyThenAdd, 6, 4>("float_6x64_avx512bw", Isa::avx512bw);

constinit const Limit popcount_limit_avx512bw = {"popcount", Isa::avx512bw, carry::block * 512, carry::limit};
constinit const Limit int8_limit_avx512bw = {"int8", Isa::avx512bw, 16 * 64,
                                             tile::limit<Integers, Bytes, 4, 4>};
constinit const Limit fp32_limit_avx512bw = {"fp32", Isa::avx512bw, 16 * 16,
                                             tile::limit<Floats, FusedMultiplyAdd, 4, 4>};

}  // namespace hardbit::cpu
#endif
