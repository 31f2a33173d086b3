#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cpu/product/conv_product.h"
#include "cpu/product/float_product.h"
#include "packed/network.h"
#include "packed/worker_pool.h"

namespace hardbit::packed {

/// The kernels a network runs on; an argument so that tests go through the tables.
struct EngineRows {
  cpu::ProductRows products;
  const cpu::FloatKernel& real;
};
EngineRows selected_engine_rows();

/// A network made ready for this processor: weights packed for its kernels, thresholds for every border, and
/// a place for every activation. Immutable once made, so that threads share it; it keeps nothing of the file.
class Engine {
 public:
  explicit Engine(Network network, const EngineRows& rows = selected_engine_rows());

  /// What the file said, without its arrays (their pointers are null).
  const Network& network() const { return network_; }
  std::int64_t image_values() const { return network_.image.values(); }
  std::int64_t classes() const { return network_.classes; }
  /// Bytes of packed weights and tables.
  std::size_t bytes() const;
  /// Images that run() takes at most: as many as fit in a core's cache with their activations.
  std::int64_t chunk() const { return chunk_; }
  /// What run() needs.
  std::size_t arena_bytes() const { return arena_bytes_; }

  /// The network on images u8 [count][height][width][channels], count ≤ chunk(), on the calling thread:
  /// logits [count][classes], classes [count]. Allocates nothing; the result does not depend on count,
  /// kernels or threads.
  void run(const std::uint8_t* images, std::int64_t count, float* logits, std::int32_t* classes,
           Arena arena) const noexcept;

  /// The sums of one layer before pooling, thresholds and scales, for one image: [convolved], i32 of a binary
  /// product (of the weights as the file has them), f32 of a float product. For tests and comparisons.
  std::vector<std::int32_t> integers(const std::uint8_t* image, std::size_t layer) const;
  std::vector<float> reals(const std::uint8_t* image, std::size_t layer) const;

 private:
  struct Stage {
    std::optional<cpu::ConvProduct> binary;
    cpu::ConvProduct::Thresholds thresholds;
    std::vector<std::uint64_t> all;
    cpu::BitPool pool;
    std::optional<cpu::FloatProduct> real;
    std::vector<float> scale, mean, factor, beta;
    /// Of the input: bytes of a pixel, of a row and of an image, margins among them, and before the first
    /// pixel.
    std::ptrdiff_t pixel;
    std::ptrdiff_t row;
    std::ptrdiff_t image;
    std::ptrdiff_t first;
  };

  void place(Stage& stage, const Layer& layer) const;
  std::size_t input_bytes(std::size_t layer, std::int64_t count) const;
  std::size_t plan_arena(std::int64_t count);
  void fill_input(const std::uint8_t* images, std::int64_t count, std::uint8_t* to) const;
  void fill_margins(std::size_t layer, std::int64_t count, std::uint8_t* input) const;
  void fill_padding(std::size_t layer, std::uint8_t* begin, std::uint8_t* end) const;
  cpu::Images input_images(std::size_t layer, const std::uint8_t* input) const;
  /// What follows a layer's sums, up to the input of the next layer at `to`, or up to the logits there.
  template <class T>
  void finish(std::size_t layer, std::int64_t count, const T* sums, float* row, std::uint8_t* to) const;
  /// Runs the layers before `end`; their result, the input of layer `end`, stands at inputs_[end % 2].
  void run_layers(const std::uint8_t* images, std::int64_t count, std::size_t end, float* logits,
                  std::uint8_t* arena) const;
  const Layer& checked(std::size_t layer, Layer::Product product) const;

  Network network_;
  std::vector<Stage> stages_;
  const cpu::BitKernels* elements_;
  /// What a pixel is to a binary and to a float first layer.
  std::vector<std::uint8_t> pixel_codes_;
  std::vector<float> pixel_reals_;
  std::int64_t chunk_ = 1;
  std::size_t arena_bytes_ = 0;
  /// In the arena: where inputs of even and of odd layers begin, sums, a row of results, and scratch memory.
  std::size_t inputs_[2] = {};
  std::size_t sums_ = 0;
  std::size_t row_ = 0;
  std::size_t scratch_ = 0;
};

/// The engine of a network; loads of equal files share one as long as any of them lives.
std::shared_ptr<const Engine> shared_engine(Network network);

}  // namespace hardbit::packed
