#pragma once
#include <cstdint>
#include <memory>
#include <optional>

#include "cuda/runtime.h"

// Whole binary layers, bits to bits, where Hopper's wgmma is: weights stay in registers
// ("weight-stationary"), pixels in shared memory as bands of images (band.h), and sums never leave the
// registers. The sums are those of binary_product.h: P on bits.
//
// Warpgroups of a block have different work. Two load bands and sum the ones of every window. Two or three
// multiply, 64 channels by a tile of 8 columns and 7, 8, 14 or 16 rows of pixels each, in turn, so that one's
// thresholds are compared while another's products keep the tensor cores busy.

namespace hardbit::cuda {

struct BinaryLayer;
struct BinaryLayout;
struct BinaryThresholds;

class WeightStationaryLayer {
 public:
  /// Null where the device has no wgmma or the layer does not fit: codes, groups, strides, channels that are
  /// not whole words, windows or images of a size that no kernel is built for. w as for BinaryWeights;
  /// `corrections` [classes][pitch] stays the caller's.
  static std::unique_ptr<WeightStationaryLayer> of(const BinaryLayer& layer, const BinaryLayout& layout,
                                                   const std::uint64_t* w, const std::int32_t* corrections);

  /// Whether so many images can be taken at once, and give enough work for this to be the fastest way.
  bool pays(std::int64_t images) const;
  /// Whether it does what follows the sums: thresholds, and no pooling or one of 2 × 2 pixels side by side.
  bool fuses(const BinaryThresholds& thresholds) const;
  std::size_t bytes() const { return static_cast<std::size_t>(packed_.count()); }

  /// As binary_layer(); fuses(thresholds).
  void run(std::int64_t images, const void* x, const BinaryThresholds& thresholds, std::uint64_t* out) const;

  ~WeightStationaryLayer();

 private:
  struct Plan;
  static std::unique_ptr<Plan> plan_of(const BinaryLayer& layer, const BinaryLayout& layout);
  WeightStationaryLayer(std::unique_ptr<Plan> plan, std::int64_t bytes);

  std::unique_ptr<Plan> plan_;
  Scratch<std::uint8_t> packed_;
};

}  // namespace hardbit::cuda
