#pragma once
#include <cstdint>
#include <memory>
#include <optional>

#include "cuda/runtime.h"
#include "ops/geometry.h"

// Binary layers whose images stay in shared memory: a block keeps the weights of up to 128 channels and takes
// bands of images, one after the other, with their borders. A tap of a window is then the same band read from
// another place on, so that the tensor cores find all taps where the band lies, and every pixel and every
// weight comes from memory once. The sums are those of binary_product.h: P on bits, n from P.
//
// Tiles are 8 × 8 output pixels by 64 or 128 channels, one a warpgroup at a time.

namespace hardbit::cuda {

struct BinaryLayer;
struct BinaryLayout;
struct BinaryThresholds;

/// A layer's weights in the order of such a block, and how it is cut; for layers that fit.
class BandProduct {
 public:
  /// Whether the layer can be cut so.
  static bool fits(const BinaryLayer& layer, const BinaryLayout& layout);
  /// Null where it does not fit: groups, strides (but for windows small enough to be written out),
  /// channels that are not whole words, weights that do not fit into shared memory.
  /// w as for BinaryWeights; `corrections` [classes][pitch] stays the caller's.
  static std::unique_ptr<BandProduct> of(const BinaryLayer& layer, const BinaryLayout& layout,
                                         const std::uint64_t* w, const std::int32_t* corrections);

  /// Whether so many images can be taken at once, and give enough blocks for this to be the faster way.
  bool pays(std::int64_t images) const;
  /// Whether thresholds and what follows them are done in the same pass: no pooling, or one of 2 × 2 pixels
  /// side by side.
  bool fuses(const BinaryThresholds& thresholds) const;
  /// Whether maxima() are what such a pooling gives.
  bool pools(const ops::Pooling& pooling) const;
  std::size_t bytes() const { return static_cast<std::size_t>(packed_.count()); }

  /// As binary_sums() and, where fuses(), binary_layer().
  template <class Out>
  void sums(std::int64_t images, const void* x, Out* out) const;
  /// The largest sum of each 2 × 2 pixels, and in `index`, unless that is null, which of them held it first:
  /// what max_pool2d() makes of the sums.
  template <class Out>
  void maxima(std::int64_t images, const void* x, Out* out, std::uint8_t* index) const;
  void layer(std::int64_t images, const void* x, const BinaryThresholds& thresholds,
             std::uint64_t* out) const;

  ~BandProduct();

 private:
  struct Plan;
  static std::unique_ptr<Plan> plan_of(const BinaryLayer& layer, const BinaryLayout& layout);
  BandProduct(std::unique_ptr<Plan> plan, std::int64_t bytes);
  template <class Target>
  void run(std::int64_t images, const void* x, const Target& target) const;

  std::unique_ptr<Plan> plan_;
  Scratch<std::uint8_t> packed_;
};

}  // namespace hardbit::cuda
