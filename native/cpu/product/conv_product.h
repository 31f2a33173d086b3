#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cpu/kernels/product.h"
#include "cpu/kernels/table.h"
#include "ops/geometry.h"

// Binary layers on one thread: convolutions by ±1 weights, from bits or codes to bits or integers, with
// padding, pooling and packing. Neither tensors nor a thread pool: the operators of the training graph and
// the deployed engine bring their own. A dense layer is a convolution of 1×1 images by 1×1 kernels, whose
// batch is the rows; one behind a flattened image has that image as its kernel.

namespace hardbit::cpu {

/// What the elements of an image are.
enum class Input : std::uint8_t {
  /// ±1: one bit a channel in words(c) 64-bit words a pixel, padding bits zero.
  signs,
  /// Codes of b bits as b planes, each laid out as `signs`.
  planes,
  /// Codes of b bits, a byte each.
  codes,
};

/// A batch of images NHWC in memory of the caller. Pitches are in bytes; nothing has to be aligned.
struct Images {
  /// The first image's first pixel.
  const std::uint8_t* data;
  std::ptrdiff_t pixel;
  std::ptrdiff_t row;
  std::ptrdiff_t image;
  /// From one plane of a pixel to the next; `planes` alone reads it.
  std::ptrdiff_t plane = 0;
  /// Rows above and below and pixels left and right of each image that may be read and hold its padding
  /// (zero bits and codes for PaddingValue::zero; ones in all channels for ::one). Margins of neighbouring
  /// rows and images may be the same memory. Where they suffice, the driver copies nothing.
  std::array<std::int64_t, 4> margin{};
};

/// Images that are written, NHWC. Pitches in elements of T.
template <class T>
struct Target {
  T* data;
  std::ptrdiff_t pixel;
  std::ptrdiff_t row;
  std::ptrdiff_t image;
};

/// Max-pooling of bits behind the threshold: the OR of a window; the AND for channels whose bit is set in
/// `all` [words(m)], where the sign of the scale turned the comparison round. Padding takes no part. The
/// default pools nothing.
struct BitPool {
  ops::Pool2dGeometry geometry{};
  /// Null: no channel.
  const std::uint64_t* all = nullptr;
  bool trivial() const { return geometry.kernel == ops::Pair{1, 1} && geometry.stride == ops::Pair{1, 1}; }
};

/// Output rows [begin, end), counted through the batch: row r is row r % rows of image r / rows. Rows
/// behind a pooling are pooled rows. Of the channels, those of the channel tiles [first_tile, last_tile).
struct Part {
  std::int64_t begin;
  std::int64_t end;
  std::int64_t first_tile = 0;
  std::int64_t last_tile = -1;  // −1: all
};

/// The kernels a layer runs on; an argument so that tests and benchmarks go through the tables.
struct ProductRows {
  const ProductKernel& bits;
  const ProductKernel& bytes;
  const BitKernels& elements;
};
ProductRows selected_product_rows();

/// Memory of a plan: 64-byte aligned, zeroed.
class PlanMemory {
 public:
  PlanMemory() = default;
  explicit PlanMemory(std::size_t bytes);
  std::byte* data() const { return data_.get(); }
  std::size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  std::unique_ptr<std::byte, Free> data_;
  std::size_t size_ = 0;
};

/// A layer's plan: packed weights, where its windows lie, which of them reach outside of the image. Immutable
/// once made, so that threads may share it.
class ConvProduct {
 public:
  /// Weights: bits [m][words(k)], 1 for +1, in the order kh, kw, c / groups, padding bits zero. `conv` is
  /// checked (ops::check_conv2d), its n does not matter, and m and c are not 0. `bits`: of a
  /// code, 1 … 8; 1 for signs. k·(2^bits − 1) < 2^31.
  ConvProduct(const ops::Conv2d& conv, ops::PaddingValue padding, Input input, int bits,
              const std::uint64_t* weights, const ProductRows& rows = selected_product_rows());
  /// The same on a given operand of the kernels: `bytes` takes codes only.
  ConvProduct(const ops::Conv2d& conv, ops::PaddingValue padding, Input input, int bits,
              const std::uint64_t* weights, const ProductRows& rows, Operand operand);
  ConvProduct(ConvProduct&&) noexcept;
  ConvProduct& operator=(ConvProduct&&) noexcept;
  ~ConvProduct();

  const ops::Conv2d& conv() const;
  const ProductKernel& kernel() const;
  /// Bytes of packed weights and tables.
  std::size_t bytes() const;
  /// Channel tiles, for a Part: every tile but a group's last has kernel().nr channels.
  std::int64_t tiles() const;
  /// Rows of a pooled image, and pixels of its row.
  ops::Pair pooled(const BitPool& pool) const;
  /// Bytes of memory, 64-byte aligned, that a call needs to itself.
  std::size_t scratch_bytes(const BitPool& pool = {}) const;

  /// Integer thresholds of a layer, folded for its border classes.
  class Thresholds {
   public:
    Thresholds() = default;
    /// Bit = dot ≥ minimum[channel]; INT32_MIN: always, INT32_MAX: never.
    Thresholds(const ConvProduct& product, std::span<const std::int32_t> minimum);
    std::size_t bytes() const { return table_.size(); }

   private:
    friend class ConvProduct;
    PlanMemory table_;
  };

  /// Writes words(m)·8 bytes a pixel, padding bits zero, or those of the part's channels: then the last tile
  /// brings the padding, and where groups have no multiple of 8 channels a part has all tiles. `x` and `out`
  /// do not overlap. Allocates nothing.
  void run(const Images& x, const Part& part, const Thresholds& thresholds, const BitPool& pool,
           const Target<std::uint8_t>& out, std::byte* scratch) const;
  /// Writes the dots, m a pixel; i16 wraps around where it does not hold them.
  void run(const Images& x, const Part& part, const Target<std::int16_t>& out, std::byte* scratch) const;
  void run(const Images& x, const Part& part, const Target<std::int32_t>& out, std::byte* scratch) const;

  /// cpu/product/plan.h
  struct Plan;

 private:
  std::unique_ptr<const Plan> plan_;
};

}  // namespace hardbit::cpu
