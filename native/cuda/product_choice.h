#pragma once
#include <cstdint>

namespace hardbit::cuda {

/// What the tensor cores multiply ±1 weights by.
enum class ProductOperand : std::uint8_t {
  /// Bits: signs as they are, codes plane by plane.
  bits,
  /// Bytes: codes as they are, signs as 0 and 1.
  bytes,
};

/// What a block computes: pixels × channels, or, where the layer fits, a band of images with weights in
/// shared memory (band_product.h) or in registers (weight_stationary.h).
enum class ProductTile : std::uint8_t { p128c128, p128c64, p64c64, p32c32, band, weight_stationary };
inline constexpr int product_tile_sizes[][2] = {{128, 128}, {128, 64}, {64, 64}, {32, 32}};

/// Steps of 32 bytes of k that a sum takes by either operand, all planes together.
struct ProductSteps {
  std::int64_t bits;
  std::int64_t bytes;
};

/// For a device of compute capability major.minor. HARDBIT_CUDA_OPERAND=b1 (bits) or =s8 (bytes) overrules
/// the table (ERR_HARDBIT_ARGUMENT for anything else).
ProductOperand choose_operand(int major, int minor, const ProductSteps& steps);

/// The largest tile that a group's channels fill and that gives every multiprocessor a block.
ProductTile choose_tile(std::int64_t pixels, std::int64_t groups, std::int64_t group_channels,
                        int multiprocessors);

}  // namespace hardbit::cuda
