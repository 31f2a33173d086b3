#include "cuda/product_choice.h"

#include <cstdlib>
#include <string>

#include "runtime/error.h"

namespace hardbit::cuda {
namespace {

struct OperandCost {
  /// Devices from this compute capability on, up to the next row's.
  int major;
  int minor;
  /// A step of bits, in percent of a step of bytes; 0 where the device has no such instruction and emulates
  /// it by bytes.
  int bits_step;
};

// Measured on an H200 (docs/results): 159 G steps a second and device of either. NVIDIA states the same rate
// a byte of operands for Ampere and Ada.
constexpr OperandCost operand_costs[] = {
    {8, 0, 100},
    {9, 0, 100},
    {10, 0, 0},
};

}  // namespace

ProductOperand choose_operand(int major, int minor, const ProductSteps& steps) {
  if (const char* const wanted = std::getenv("HARDBIT_CUDA_OPERAND"); wanted != nullptr && *wanted != '\0') {
    const std::string name = wanted;
    if (name == "b1") return ProductOperand::bits;
    if (name == "s8") return ProductOperand::bytes;
    throw Error("ERR_HARDBIT_ARGUMENT",
                "HARDBIT_CUDA_OPERAND is " + name + "; expected b1 (bits) or s8 (bytes), or nothing.");
  }
  const OperandCost* found = operand_costs;
  for (const OperandCost& row : operand_costs) {
    if (row.major < major || (row.major == major && row.minor <= minor)) found = &row;
  }
  const bool bits = found->bits_step > 0 && steps.bits * found->bits_step <= steps.bytes * 100;
  return bits ? ProductOperand::bits : ProductOperand::bytes;
}

ProductTile choose_tile(std::int64_t pixels, std::int64_t groups, std::int64_t group_channels,
                        int multiprocessors) {
  for (const auto tile : {ProductTile::p128c128, ProductTile::p128c64, ProductTile::p64c64}) {
    const auto [rows, columns] = product_tile_sizes[static_cast<int>(tile)];
    // A tile that is half empty costs what two smaller ones do.
    if (group_channels <= columns / 2 || pixels <= rows / 2) continue;
    const std::int64_t blocks =
        (pixels + rows - 1) / rows * ((group_channels + columns - 1) / columns) * groups;
    if (blocks >= multiprocessors) return tile;
  }
  return ProductTile::p32c32;
}

}  // namespace hardbit::cuda
