#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "packed/buffer.h"
#include "packed/sha256.h"

namespace hardbit::packed {

/// Height, width, channels.
struct Image {
  std::int64_t height;
  std::int64_t width;
  std::int64_t channels;
  std::int64_t values() const { return height * width * channels; }
  bool operator==(const Image&) const = default;
};

/// Where the windows of a convolution or a pool lie: rows, columns; padding above, below, left, right.
struct Window {
  std::array<std::int64_t, 2> kernel{1, 1};
  std::array<std::int64_t, 2> stride{1, 1};
  std::array<std::int64_t, 2> dilation{1, 1};
  std::array<std::int64_t, 4> padding{};
  bool pads() const { return (padding[0] | padding[1] | padding[2] | padding[3]) != 0; }
};

/// One layer of a `.hbit` file, checked; docs/hbit.md says what it computes. Pointers are null where the
/// layer has no such array.
struct Layer {
  enum class Product : std::uint32_t { binary = 1, real = 2 };
  enum class Result : std::uint32_t { signs = 1, reals = 2 };
  /// What comes in.
  enum class Input : std::uint8_t { codes, signs, reals };

  std::string name;
  Product product;
  Result result;
  Input input;
  Window window;
  bool pads_with_one;
  std::int64_t groups;
  Window pool;
  bool batch_norm;
  bool relu;

  Image in;
  /// Before and behind the pool.
  Image convolved;
  Image out;
  /// Taps of one sum.
  std::int64_t k;

  /// Bits [m][words].
  const std::uint64_t* signs;
  const float* weights;
  const std::int32_t* minimum;
  const std::uint64_t* all;
  const float* scale;
  const float* bias;
  const float* mean;
  const float* factor;
  const float* beta;

  bool pools() const { return pool.kernel[0] * pool.kernel[1] > 1; }
  /// Words of a row of `signs`.
  std::int64_t words() const { return (k + 63) / 64; }
};

/// A sound `.hbit` file: its own copy of the bytes, and what they say.
struct Network {
  Digest hash;
  std::string model;
  std::string recipe;
  Image image;
  int bits;
  std::int64_t classes;
  /// u8 [256].
  const std::uint8_t* pixels;
  std::vector<Layer> layers;
  Buffer file;

  /// The largest code, 2^bits − 1.
  int levels() const { return (1 << bits) - 1; }
};

}  // namespace hardbit::packed
