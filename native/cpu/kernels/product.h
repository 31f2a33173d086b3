#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/cpu_features.h"

// The micro-kernels of products: matrix products, and convolutions as products of windows and weights. Every
// ISA's translation unit includes this header under its own compiler flags, so it holds plain data and
// declarations only: an inline function here could be emitted with instructions the CPU lacks and be linked
// elsewhere.

namespace hardbit::cpu {

/// The windows of activations a tile reads: the K values of row r lie in `segments` runs of `segment_words`
/// 32-bit words; run s begins at x[r] + offsets[s] bytes. Nothing is aligned, and nothing else is read. A
/// dense product has one segment, a convolution one a kernel row (or tap), whose taps lie side by side in an
/// NHWC image.
struct Windows {
  const std::uint8_t* const* x;
  const std::ptrdiff_t* offsets;
  std::int64_t segments;
  /// Even, unless there is one segment.
  std::int64_t segment_words;
};

/// What the integers of a product are made of.
enum class Operand : std::uint8_t {
  /// Bits against bits: S = Σ_p 2^p · popcount(x_p XOR w), p over the planes of x. With w = 2b − 1, b ∈ {0,
  /// 1}:
  ///  - x of ±1 (one plane): dot = K − 2S, for S counts the places where the signs differ;
  ///  - x of codes Σ_p 2^p x_p: dot = Σ_p 2^p (2·pop(x_p & b) − pop(x_p)), and since pop(x ^ b) = pop(x) +
  ///  pop(b) −
  ///    2·pop(x & b), dot = Σ_p 2^p (pop(b) − pop(x_p ^ b)) = (2^planes − 1)·pop(b) − S.
  bits,
  /// Bytes: S = Σ_k x·w, x unsigned and w signed, four values a word. |x[k]·w[k] + x[k + 1]·w[k + 1]| ≤ 32767
  /// for each
  /// even k, so that 16-bit intermediate sums are exact.
  bytes,
};

/// One call of a product micro-kernel: `rows` windows against `columns` output channels.
struct ProductTile {
  Windows windows;
  /// Bit planes of x, 1 … 8; plane p lies p·plane_pitch bytes behind plane 0. 1 for bytes.
  int planes;
  std::ptrdiff_t plane_pitch;
  /// Packed weights, from the tile's first channel on.
  const void* w;
  /// 1 … mr.
  int rows;
  /// 1 … nr.
  int columns;
  /// A window without some of its taps, those outside of the image (bits alone): it meets the channel's words
  /// from w_first on, and behind each segment w_skip words are passed over. w_rest counts all words of a
  /// channel that it does not meet. All 0 where it meets every word; else `rows` is mr.
  std::int64_t w_first = 0;
  std::int64_t w_skip = 0;
  std::int64_t w_rest = 0;
};

/// Sums become bits: bit c of out[r] is S[r][c] ≤ thresholds[r][c]. INT32_MIN: never, INT32_MAX: always.
struct BitStore {
  /// [rows], at the tile's first channel. Readable up to the next multiple of the kernel's `lanes`.
  const std::int32_t* const* thresholds;
  /// [rows]: the byte of the tile's first channel. ceil(columns / 8) bytes are written, bits past `columns`
  /// 0.
  std::uint8_t* const* out;
};

/// Sums become integers: out[r][c] = offsets[r][c] − factor·S[r][c], c < columns. Wraps around where Out does
/// not hold the result. `out` may be `offsets` itself (then factor −1 accumulates).
template <class Out>
struct SumStore {
  /// [rows], at the tile's first channel. Readable up to the next multiple of the kernel's `lanes`.
  const std::int32_t* const* offsets;
  std::int32_t factor;
  /// [rows], at the tile's first channel.
  Out* const* out;
};

/// A product micro-kernel. K of the weights is `words` 32-bit words a channel, in the order of the windows:
/// segment after segment.
struct ProductKernel {
  const char* name;
  Isa isa;
  Operand operand;
  /// Rows and channels of a whole tile; nr is a multiple of 8 and of `lanes`.
  int mr;
  int nr;
  /// Channels a vector.
  int lanes;
  /// Bytes that pack() writes.
  std::size_t (*packed_bytes)(std::int64_t channels, std::int64_t words);
  /// w is [channels][words]; missing channels up to a multiple of `lanes` are zeros. The channels from any
  /// multiple of `nr` on begin at packed_bytes(that multiple, words).
  void (*pack)(const std::uint32_t* w, std::int64_t channels, std::int64_t words, void* packed);
  /// Bytes that lie by k instead: w is [4·count][pitch], of which `channels` count, each ^ flip. They become
  /// `count` of the `words` words of every channel, and packed is where the first of those lies: 4·lanes
  /// bytes a word behind where pack() begins. Null for bits, and where packed weights hold more than their
  /// words (NEON).
  void (*pack_rows)(const std::uint8_t* w, std::int64_t pitch, std::int64_t channels, std::int64_t count,
                    std::uint8_t flip, std::int64_t words, void* packed) = nullptr;
  void (*store_bits)(const ProductTile& tile, const BitStore& store);
  void (*store_i16)(const ProductTile& tile, const SumStore<std::int16_t>& store);
  void (*store_i32)(const ProductTile& tile, const SumStore<std::int32_t>& store);
};

/// One call of a float micro-kernel: words of `windows` are f32.
struct FloatTile {
  Windows windows;
  const float* w;
  int rows;
  int columns;
  /// Added last; readable up to the next multiple of the kernel's `lanes`.
  const float* bias;
  /// [rows], at the tile's first channel; `columns` values are written.
  float* const* out;
};

/// y[r][c] = fl(s_K + bias[c]), s_k = fl(s_{k−1} + fl(x[k]·w[k])), s_0 = 0: one order of rounding on every
/// instruction set, which the full-precision layers of a deployed network share with the training graph's
/// evaluation.
struct FloatKernel {
  const char* name;
  Isa isa;
  int mr;
  int nr;
  int lanes;
  /// As ProductKernel's; w f32 [channels][k].
  std::size_t (*packed_bytes)(std::int64_t channels, std::int64_t k);
  void (*pack)(const float* w, std::int64_t channels, std::int64_t k, float* packed);
  void (*run)(const FloatTile& tile);
};

/// A loop over registers alone: what the arithmetic of an instruction set could do at most.
struct Limit {
  /// "popcount" (xor, popcount and add, or the table lookups or full adders that do the same faster), "int8"
  /// (multiply and accumulate bytes), "fp32" (fused multiply-add where there is one), "sums" (sums of floats
  /// under signs, sign_sum.h, where there are).
  const char* name;
  Isa isa;
  /// Multiply-accumulates of one iteration, bits for "popcount".
  std::int64_t macs;
  /// Returns something that depends on every iteration.
  std::uint64_t (*run)(std::int64_t iterations);
};

/// Every row this build has, whether or not this CPU can run it.
std::span<const ProductKernel> product_kernels();
std::span<const FloatKernel> float_kernels();
std::span<const Limit> limits();

/// The row for an operand that operators use: the last one of selected_isa(), picked once.
const ProductKernel& selected_product(Operand operand);
const FloatKernel& selected_float();

// The rows, each defined beside its kernel.
extern const ProductKernel bits_generic;
extern const ProductKernel bytes_generic;
extern const FloatKernel float_generic;
extern const Limit popcount_limit_generic;
extern const Limit int8_limit_generic;
extern const Limit fp32_limit_generic;
#if defined(__x86_64__)
extern const ProductKernel bits_avx2;
extern const ProductKernel bytes_avx2;
extern const FloatKernel float_avx2;
extern const Limit popcount_limit_avx2;
extern const Limit int8_limit_avx2;
extern const Limit fp32_limit_avx2;
extern const ProductKernel bits_avx512bw;
extern const ProductKernel bytes_avx512bw;
extern const FloatKernel float_avx512bw;
extern const Limit popcount_limit_avx512bw;
extern const Limit int8_limit_avx512bw;
extern const Limit fp32_limit_avx512bw;
extern const ProductKernel bits_avx512vnni;
extern const ProductKernel bytes_avx512vnni;
extern const FloatKernel float_avx512vnni;
extern const Limit popcount_limit_avx512vnni;
extern const Limit int8_limit_avx512vnni;
extern const Limit fp32_limit_avx512vnni;
extern const ProductKernel bits_avx512;
extern const ProductKernel bytes_avx512;
extern const FloatKernel float_avx512;
extern const Limit popcount_limit_avx512;
extern const Limit int8_limit_avx512;
extern const Limit fp32_limit_avx512;
#endif
#if defined(__aarch64__)
extern const ProductKernel bits_neon;
extern const ProductKernel bytes_neon;
extern const FloatKernel float_neon;
extern const Limit popcount_limit_neon;
extern const Limit int8_limit_neon;
extern const Limit fp32_limit_neon;
#endif

/// No row of the tables has a larger mr, or mr·nr.
inline constexpr int max_product_rows = 16;
inline constexpr int max_product_tile = 8 * 64;

}  // namespace hardbit::cpu
