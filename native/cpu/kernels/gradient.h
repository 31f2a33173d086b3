#pragma once
#include <cstdint>
#include <span>

#include "runtime/cpu_features.h"

// The kernels around the byte products of quantized gradients (cpu/byte_gradient.h): rounding, transposing,
// scaling. Plain data and declarations only, as in product.h.

namespace hardbit::cpu {

/// Philox's counter but for the number of the block (runtime/random.h).
struct Draws {
  std::uint64_t key;
  std::uint64_t step;
  std::uint32_t stream;
};

/// One row of the table. All arrays may be unaligned; nothing outside of them is touched.
struct GradientKernels {
  const char* name;
  Isa isa;
  /// The bits of max |fl(x[i]·a[i mod period])|, which order as the magnitudes do: an infinity above every
  /// number, a NaN above all. `most` is where to begin. `period` is a multiple of 128, or n or more.
  std::uint32_t (*magnitude)(const float* x, const float* a, std::int64_t period, std::int64_t n,
                             std::uint32_t most);
  /// The same for each column of x [rows][columns], without factors; `most` [columns] is where to begin.
  void (*column_magnitudes)(const float* x, std::int64_t rows, std::int64_t columns, std::uint32_t* most);
  /// out[i] = 128 + ⌊t + u⌋ with t = fl(fl(x·a)·b) / 65536 clamped to ±levels, u a draw in multiples of 2^-16
  /// (ops/binary_gradient.h has its place); a NaN gives levels. `block` is the row's first block of draws; a
  /// and b have a period as above.
  void (*quantize)(const Draws& draws, std::uint32_t block, const float* x, const float* a, const float* b,
                   std::int64_t period, int levels, std::int64_t n, std::uint8_t* out);
  /// y[c·pitch + i] = x[i·stride + c] ^ flip, i < n, c < columns.
  void (*transpose)(const std::uint8_t* x, std::int64_t stride, std::int64_t n, std::int64_t columns,
                    std::uint8_t flip, std::uint8_t* y, std::int64_t pitch);
  /// Bit c of pixel i as a byte: y[c·pitch + i] = zero or one, c < channels ≤ 64, i < n; pixel i's bits are
  /// the low ones of x[i·stride].
  void (*unpack)(const std::uint64_t* x, std::int64_t stride, std::int64_t n, std::int64_t channels,
                 std::uint8_t zero, std::uint8_t one, std::uint8_t* y, std::int64_t pitch);
  /// out[i] = fl(fl(sums[i]·scale)·drop).
  void (*scale)(const std::int32_t* sums, float scale, float drop, std::int64_t n, float* out);
  /// sums [rows][pitch], of which `columns` count: out[c·stride + r] = fl(fl((sums[r][c] − minus[c])·
  /// scale[c])·drop[c]), added to what stands there where `add`.
  void (*scale_transposed)(const std::int32_t* sums, std::int64_t rows, std::int64_t pitch,
                           std::int64_t columns, const std::int32_t* minus, const float* scale,
                           const float* drop, bool add, std::int64_t stride, float* out);
};

std::span<const GradientKernels> gradient_kernels();
/// The last row of selected_isa(), picked once.
const GradientKernels& selected_gradient_kernels();

// The rows: the loops of gradient_loops.h, compiled for each instruction set.
extern const GradientKernels gradient_generic;
extern const GradientKernels gradient_avx2;
extern const GradientKernels gradient_avx512;

}  // namespace hardbit::cpu
