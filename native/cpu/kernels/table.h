#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/cpu_features.h"

// Every ISA's translation unit includes this header under its own compiler flags, so it holds plain data and
// declarations only: an inline function here could be emitted with instructions the CPU lacks and be linked
// elsewhere.

namespace hardbit::cpu {

/// The operands of one call of a bgemm micro-kernel: `rows` activation rows against `columns` output
/// channels.
struct BgemmTile {
  /// Word k of plane p of row r is x[r·row_stride + p·plane_stride + k].
  const std::uint64_t* x;
  std::ptrdiff_t row_stride;
  std::ptrdiff_t plane_stride;
  /// Packed weights, from the tile's first channel on.
  const std::uint64_t* w;
  /// 64-bit words along K, 0 or more.
  std::int64_t words;
  /// Bit planes of x, 1 … 8.
  int planes;
  /// 1 … mr.
  int rows;
  /// 1 … nr.
  int columns;
  /// Out: [rows][nr]. Columns past `columns`, up to the next multiple of `lanes`, receive rubbish; the rest
  /// is kept.
  std::uint32_t* sums;
};

/// A binary matrix product micro-kernel: S[r][c] = Σ_p 2^p · popcount(x_p[r] XOR w[c]), p over the planes of
/// x, popcount over the words of K. Padding bits that are zero in both operands add nothing.
///
/// One XOR kernel serves both products. With w = 2b − 1, b ∈ {0, 1}:
///  - x of ±1 (one plane): dot = K − 2S, for S counts the places where the signs differ;
///  - x of codes Σ_p 2^p x_p: dot = Σ_p 2^p (2·pop(x_p & b) − pop(x_p)), and since pop(x ^ b) = pop(x) +
///  pop(b) −
///    2·pop(x & b), dot = Σ_p 2^p (pop(b) − pop(x_p ^ b)) = (2^planes − 1)·pop(b) − S.
///
/// Packed weights: channels in groups of `lanes`, [ceil(channels / lanes)][words][lanes] words, so that one
/// word of activations meets `lanes` channels in a vector and nothing is summed across lanes. Missing
/// channels are zero words.
struct Bgemm {
  const char* name;
  Isa isa;
  /// Rows and channels of a whole tile; bits of K taken a step.
  int mr;
  int nr;
  int kr;
  /// Channels a vector; divides nr.
  int lanes;
  /// w is [channels][words]; writes ceil(channels / lanes)·lanes·words words.
  void (*pack)(const std::uint64_t* w, std::int64_t channels, std::int64_t words, std::uint64_t* packed);
  void (*run)(const BgemmTile& tile);
};

/// No row of the table has a larger mr·nr.
inline constexpr int max_tile = 8 * 32;

/// What becomes of a tile of sums: out[r·stride + c] = offsets[c] − factor·sums[r·nr + c], r < rows, c <
/// columns. Wraps around where Out does not hold the result.
template <class Out>
struct TileStore {
  const std::uint32_t* sums;
  int nr;
  int rows;
  int columns;
  const std::int32_t* offsets;
  std::int32_t factor;
  Out* out;
  std::int64_t stride;
};

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
  void (*store_i16)(const TileStore<std::int16_t>& store);
  void (*store_i32)(const TileStore<std::int32_t>& store);
};

/// Every row this build has, whether or not this CPU can run it.
std::span<const Bgemm> bgemm_kernels();
std::span<const BitKernels> bit_kernels();

/// The rows the operators use: the last one of selected_isa(), picked once.
const Bgemm& selected_bgemm();
const BitKernels& selected_bit_kernels();

// The rows, each defined beside its kernel.
extern const Bgemm bgemm_4x4_generic;
extern const BitKernels bit_kernels_generic;
#if defined(__x86_64__)
extern const Bgemm bgemm_4x8_avx2;
extern const BitKernels bit_kernels_avx2;
extern const Bgemm bgemm_8x24_avx512;
extern const BitKernels bit_kernels_avx512;
#endif
#if defined(__aarch64__)
extern const Bgemm bgemm_4x8_neon;
#endif

}  // namespace hardbit::cpu
