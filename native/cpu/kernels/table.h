#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/cpu_features.h"

// Every ISA's translation unit includes this header under its own compiler flags, so it holds plain data and
// declarations only: an inline function here could be emitted with instructions the CPU lacks and be linked
// elsewhere.

namespace hardbit::cpu {

/// The elementwise kernels of one ISA. Bits are rows of words(columns) 64-bit words, least significant bit
/// first; kernels that write bits write whole words, padding bits zero.
struct BitKernels {
  Isa isa;
  /// Bit 1 where x ≥ 0 (so for −0.0 too, and not for a NaN).
  void (*pack_signs)(const float* x, std::int64_t rows, std::int64_t columns, std::uint64_t* bits);
  /// +1.0F where the bit is 1, −1.0F where it is 0.
  void (*unpack_signs)(const std::uint64_t* bits, std::int64_t rows, std::int64_t columns, float* x);
  /// pack_signs, and the mask bits |x| ≤ 1 (0 for a NaN).
  void (*sign_forward)(const float* x, std::int64_t rows, std::int64_t columns, std::uint64_t* signs,
                       std::uint64_t* mask);
  /// dx = dy where the mask bit is 1, else +0.
  void (*mask_backward)(const float* dy, const std::uint64_t* mask, std::int64_t rows, std::int64_t columns,
                        float* dx);
  /// dx = fl(dy · fl(2 − 2|x|)) where |x| ≤ 1, else +0 (so for a NaN in x).
  void (*approx_sign_backward)(const float* dy, const float* x, std::int64_t count, float* dx);
  /// codes = quantize_code(x, bits), see ops/discretize.h.
  void (*discretize)(const float* x, std::int64_t count, int bits, std::uint8_t* codes);
  /// x = fl(code / (2^bits − 1)).
  void (*codes_to_float)(const std::uint8_t* codes, std::int64_t count, int bits, float* x);
  /// Splits codes [rows][columns] into `bits` planes, [rows][bits][words(columns)]. Returns the OR of all
  /// codes; bits of a code above the highest plane are left out.
  std::uint8_t (*pack_planes)(const std::uint8_t* codes, std::int64_t rows, std::int64_t columns, int bits,
                              std::uint64_t* planes);
};

/// Every row this build has, whether or not this CPU can run it.
std::span<const BitKernels> bit_kernels();

/// The rows the operators use: the last one of selected_isa(), or of the next weaker one where it has none;
/// picked once.
const BitKernels& selected_bit_kernels();

// The rows, each defined beside its kernel.
extern const BitKernels bit_kernels_generic;
#if defined(__x86_64__)
extern const BitKernels bit_kernels_avx2;
extern const BitKernels bit_kernels_avx512;
#endif

}  // namespace hardbit::cpu
