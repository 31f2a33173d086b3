#pragma once
#include <cstdint>

// How float products are cut for the GPU (float_product.h).

namespace hardbit::cuda::product {

struct Sizes {
  std::int64_t rows, cols, k;
  unsigned groups;
};

struct Plan {
  /// Rows and columns of a tile: 128, 64, 32.
  int tile;
  /// Of k.
  unsigned parts;
};
/// `parts`: there may be more than one. Up to the sizes alone.
Plan plan(const Sizes& sizes, bool parts);

/// For tests: what plan() answers instead, where the tile is not 0; one part where there may be but one.
extern Plan forced_plan;
/// Pixels of images in a launch, so that 31 bits count them; tests make it smaller.
extern std::int64_t most_pixels;

}  // namespace hardbit::cuda::product
