#pragma once
#include <memory>
#include <vector>

#include "packed/network.h"
#include "runtime/tensor.h"

namespace hardbit::cuda {

/// A `.hbit` network on the GPU: the layers of docs/hbit.md on the kernels of binary_product.h and
/// ordered_float.h. Its integers, and so its predictions, are those of the packed engine and of the training
/// graph in evaluation; so are the logits, since every rounding is theirs.
class DeployedNetwork {
 public:
  /// Copies what it needs to the device; weights are packed for it once. Throws ERR_HARDBIT_NO_CUDA,
  /// ERR_HARDBIT_MEMORY.
  explicit DeployedNetwork(const packed::Network& network);
  ~DeployedNetwork();
  DeployedNetwork(const DeployedNetwork&) = delete;
  DeployedNetwork& operator=(const DeployedNetwork&) = delete;

  /// Height, width, channels of an image.
  const packed::Image& image() const { return image_; }
  std::int64_t classes() const { return classes_; }
  /// Bytes of packed weights and tables on the device.
  std::size_t bytes() const;

  /// Logits f32 [N, classes] of images u8 [N, H, W, C], both on the device. Queued; it may be recorded.
  /// ERR_HARDBIT_SHAPE, ERR_HARDBIT_DTYPE.
  Tensor logits(const Tensor& images) const;

 private:
  struct Stage;
  /// The input of the first layer: codes u8, or f32.
  Tensor first_input(const Tensor& images) const;
  Tensor run(const Stage& stage, const Tensor& input, std::int64_t count) const;

  packed::Image image_;
  std::int64_t classes_;
  int bits_;
  bool real_input_;
  Tensor pixels_;  // u8 [256], or f32 [256] for a float first layer
  std::vector<std::unique_ptr<Stage>> stages_;
};

}  // namespace hardbit::cuda
