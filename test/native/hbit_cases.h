#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "packed/network.h"
#include "packed/reader.h"

// Deployed networks for tests: a description, its file as docs/hbit.md has it, and what it computes, by loops
// over single elements. Neither shares code with the reader or the engine.

namespace hardbit::test {

struct HbitLayer {
  bool binary = true;
  bool signs = true;
  std::uint32_t height = 1, width = 1, channels = 1, outputs = 1;
  std::array<std::uint32_t, 2> kernel{1, 1}, stride{1, 1}, dilation{1, 1};
  std::array<std::uint32_t, 4> padding{};
  bool ones = false;
  std::uint32_t groups = 1;
  std::array<std::uint32_t, 2> pool{1, 1}, pool_stride{1, 1};
  std::array<std::uint32_t, 4> pool_padding{};
  bool batch_norm = false;
  bool relu = false;
  /// [m][K] of ±1, or of f32.
  std::vector<int> weight_signs;
  std::vector<float> weights;
  std::vector<std::int32_t> minimum;
  /// Empty where there is no pool.
  std::vector<bool> all;
  std::vector<float> scale, bias, mean, factor, beta;
  std::string name = "layer";

  std::uint32_t k() const { return groups == 0 ? 0 : kernel[0] * kernel[1] * (channels / groups); }
  static std::uint32_t extent(std::uint32_t size, std::uint32_t before, std::uint32_t after,
                              std::uint32_t kernel, std::uint32_t stride, std::uint32_t dilation) {
    return (size + before + after - dilation * (kernel - 1) - 1) / stride + 1;
  }
  std::uint32_t rows() const {
    return extent(height, padding[0], padding[1], kernel[0], stride[0], dilation[0]);
  }
  std::uint32_t columns() const {
    return extent(width, padding[2], padding[3], kernel[1], stride[1], dilation[1]);
  }
  std::uint32_t pooled_rows() const {
    return extent(rows(), pool_padding[0], pool_padding[1], pool[0], pool_stride[0], 1);
  }
  std::uint32_t pooled_columns() const {
    return extent(columns(), pool_padding[2], pool_padding[3], pool[1], pool_stride[1], 1);
  }
};

struct HbitNetwork {
  std::uint32_t height = 1, width = 1, channels = 1, bits = 1, classes = 1;
  std::vector<std::uint8_t> pixels = std::vector<std::uint8_t>(256);
  std::string model = "model", recipe = "recipe";
  std::vector<HbitLayer> layers;

  int levels() const { return (1 << bits) - 1; }
};

/// The discretizer's table.
inline std::vector<std::uint8_t> pixel_table(std::uint32_t bits) {
  std::vector<std::uint8_t> table(256);
  const auto levels = static_cast<float>((1U << bits) - 1);
  for (int v = 0; v < 256; ++v) {
    const float x = static_cast<float>(v) / 255.0F;
    const float scaled = x * levels;
    table[static_cast<std::size_t>(v)] = static_cast<std::uint8_t>(std::floor(scaled + 0.5F));
  }
  return table;
}

// -- the file

class HbitWriter {
 public:
  std::vector<std::uint8_t> write(const HbitNetwork& network) {
    bytes_.assign(256 * (1 + network.layers.size()), 0);
    const std::uint8_t magic[] = {0x89, 'H', 'B', 'T', 0x0D, 0x0A, 0x1A, 0x0A};
    std::copy(std::begin(magic), std::end(magic), bytes_.begin());
    u32(8, 1);
    u32(12, static_cast<std::uint32_t>(network.layers.size()));
    const std::uint32_t header[] = {network.height, network.width, network.channels, network.bits,
                                    network.classes};
    for (std::size_t i = 0; i < 5; ++i) u32(64 + 4 * i, header[i]);
    label(64 + 32, network.model);
    label(64 + 64, network.recipe);
    array(64 + 24, network.pixels);
    for (std::size_t i = 0; i < network.layers.size(); ++i) layer(256 * (1 + i), network.layers[i]);
    bytes_.resize((bytes_.size() + 63) / 64 * 64);
    u64(16, bytes_.size());
    packed::repair_checksum(bytes_);
    return bytes_;
  }

 private:
  void u32(std::size_t at, std::uint32_t value) { std::memcpy(bytes_.data() + at, &value, 4); }
  void u64(std::size_t at, std::uint64_t value) { std::memcpy(bytes_.data() + at, &value, 8); }
  void label(std::size_t at, const std::string& text) { std::copy(text.begin(), text.end(), &bytes_[at]); }

  template <class T>
  void array(std::size_t offset_at, const std::vector<T>& values) {
    const std::size_t begin = (bytes_.size() + 63) / 64 * 64;
    u64(offset_at, begin);
    bytes_.resize(begin + values.size() * sizeof(T));
    if (!values.empty()) std::memcpy(bytes_.data() + begin, values.data(), values.size() * sizeof(T));
  }

  template <class Bit>
  static std::vector<std::uint64_t> packed_rows(std::size_t rows, std::size_t columns, const Bit& bit) {
    const std::size_t words = (columns + 63) / 64;
    std::vector<std::uint64_t> packed(rows * words);
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < columns; ++c) {
        if (bit(r * columns + c)) packed[r * words + c / 64] |= std::uint64_t{1} << (c % 64);
      }
    }
    return packed;
  }

  void layer(std::size_t at, const HbitLayer& l) {
    const std::uint32_t fields[] = {l.binary ? 1U : 2U,
                                    l.signs ? 1U : 2U,
                                    l.height,
                                    l.width,
                                    l.channels,
                                    l.outputs,
                                    l.kernel[0],
                                    l.kernel[1],
                                    l.stride[0],
                                    l.stride[1],
                                    l.dilation[0],
                                    l.dilation[1],
                                    l.padding[0],
                                    l.padding[1],
                                    l.padding[2],
                                    l.padding[3],
                                    l.ones ? 1U : 0U,
                                    l.groups,
                                    l.pool[0],
                                    l.pool[1],
                                    l.pool_stride[0],
                                    l.pool_stride[1],
                                    l.pool_padding[0],
                                    l.pool_padding[1],
                                    l.pool_padding[2],
                                    l.pool_padding[3],
                                    l.batch_norm ? 1U : 0U,
                                    l.relu ? 1U : 0U};
    for (std::size_t i = 0; i < std::size(fields); ++i) u32(at + 4 * i, fields[i]);
    label(at + 176, l.name);
    if (l.binary) {
      array(at + 112, packed_rows(l.outputs, l.k(), [&](std::size_t i) {
              return i < l.weight_signs.size() && l.weight_signs[i] > 0;
            }));
    } else {
      array(at + 112, l.weights);
    }
    if (l.binary && l.signs) array(at + 120, l.minimum);
    if (!l.all.empty()) array(at + 128, packed_rows(1, l.outputs, [&](std::size_t i) { return l.all[i]; }));
    if (!l.scale.empty()) array(at + 136, l.scale);
    if (!l.bias.empty()) array(at + 144, l.bias);
    if (l.batch_norm) {
      array(at + 152, l.mean);
      array(at + 160, l.factor);
      array(at + 168, l.beta);
    }
  }

  std::vector<std::uint8_t> bytes_;
};

inline std::vector<std::uint8_t> hbit_file(const HbitNetwork& network) { return HbitWriter().write(network); }

// -- what it computes

/// One image through a network, layer by layer.
class HbitReference {
 public:
  explicit HbitReference(const HbitNetwork& network) : network_(network) {}

  /// The logits; sums() has each layer's sums, [convolved], exact as double (f32 of a float product).
  std::vector<float> run(const std::uint8_t* image) {
    sums_.clear();
    std::vector<double> x;  // codes, ±1 or reals
    const std::uint32_t count = network_.height * network_.width * network_.channels;
    for (std::uint32_t i = 0; i < count; ++i) x.push_back(network_.pixels[image[i]]);
    bool codes = true;
    for (const HbitLayer& l : network_.layers) {
      if (!l.binary && codes) {
        for (double& v : x)
          v = static_cast<double>(static_cast<float>(v) / static_cast<float>(network_.levels()));
      }
      x = layer(l, x, codes ? network_.levels() : 1);
      codes = false;
    }
    return {x.begin(), x.end()};
  }
  const std::vector<std::vector<double>>& sums() const { return sums_; }

 private:
  static double sum(const HbitLayer& l, const std::vector<double>& x, double one, std::uint32_t r,
                    std::uint32_t s, std::uint32_t j) {
    const std::uint32_t channels = l.channels / l.groups;
    const std::uint32_t group = j / (l.outputs / l.groups);
    std::int64_t n = 0;
    float f = 0;
    std::size_t w = std::size_t{j} * l.k();
    for (std::uint32_t a = 0; a < l.kernel[0]; ++a) {
      for (std::uint32_t b = 0; b < l.kernel[1]; ++b) {
        const std::int64_t row = std::int64_t{r} * l.stride[0] + a * l.dilation[0] - l.padding[0];
        const std::int64_t column = std::int64_t{s} * l.stride[1] + b * l.dilation[1] - l.padding[2];
        const bool inside = row >= 0 && row < l.height && column >= 0 && column < l.width;
        for (std::uint32_t i = 0; i < channels; ++i, ++w) {
          const double v =
              inside ? x[static_cast<std::size_t>(row * l.width + column) * l.channels + group * channels + i]
              : l.ones ? one
                       : 0;
          if (l.binary) {
            n += static_cast<std::int64_t>(v) * l.weight_signs[w];
          } else {
            const float product = static_cast<float>(v) * l.weights[w];
            f = f + product;
          }
        }
      }
    }
    if (l.binary) return static_cast<double>(n);
    const float bias = l.bias.empty() ? 0.0F : l.bias[j];
    return static_cast<double>(f + bias);
  }

  std::vector<double> layer(const HbitLayer& l, const std::vector<double>& x, double one) {
    std::vector<double>& n = sums_.emplace_back();
    for (std::uint32_t r = 0; r < l.rows(); ++r) {
      for (std::uint32_t s = 0; s < l.columns(); ++s) {
        for (std::uint32_t j = 0; j < l.outputs; ++j) n.push_back(sum(l, x, one, r, s, j));
      }
    }
    std::vector<double> y;
    for (std::uint32_t r = 0; r < l.pooled_rows(); ++r) {
      for (std::uint32_t s = 0; s < l.pooled_columns(); ++s) {
        for (std::uint32_t j = 0; j < l.outputs; ++j) y.push_back(result(l, n, r, s, j));
      }
    }
    return y;
  }

  /// Of one output element.
  static double result(const HbitLayer& l, const std::vector<double>& n, std::uint32_t r, std::uint32_t s,
                       std::uint32_t j) {
    double most = 0;
    bool any = false, all = true, first = true;
    for (std::uint32_t a = 0; a < l.pool[0]; ++a) {
      for (std::uint32_t b = 0; b < l.pool[1]; ++b) {
        const std::int64_t row = std::int64_t{r} * l.pool_stride[0] + a - l.pool_padding[0];
        const std::int64_t column = std::int64_t{s} * l.pool_stride[1] + b - l.pool_padding[2];
        if (row < 0 || row >= l.rows() || column < 0 || column >= l.columns()) continue;
        const double v = n[static_cast<std::size_t>(row * l.columns() + column) * l.outputs + j];
        if (l.binary && l.signs) {
          any = any || v >= l.minimum[j];
          all = all && v >= l.minimum[j];
        }
        most = first ? v : std::max(most, v);
        first = false;
      }
    }
    if (l.binary && l.signs) return (!l.all.empty() && l.all[j] ? all : any) ? 1 : -1;
    auto y = static_cast<float>(most);
    if (l.binary) y = y * l.scale[j];
    if (l.batch_norm) {
      const float centred = y - l.mean[j];
      const float scaled = centred * l.factor[j];
      y = scaled + l.beta[j];
    }
    if (l.relu && y < 0) y = 0;
    if (l.signs) return y >= 0 ? 1 : -1;
    return static_cast<double>(y);
  }

  const HbitNetwork& network_;
  std::vector<std::vector<double>> sums_;
};

// -- random ones

/// Draws networks with all features of the format.
class HbitDraw {
 public:
  explicit HbitDraw(std::uint32_t seed) : random_(seed) {}

  std::uint32_t between(std::uint32_t least, std::uint32_t most) {
    return std::uniform_int_distribution<std::uint32_t>(least, most)(random_);
  }
  bool chance(int percent) { return between(1, 100) <= static_cast<std::uint32_t>(percent); }
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return *(values.begin() + between(0, static_cast<std::uint32_t>(values.size()) - 1));
  }
  float real(float low, float high) { return std::uniform_real_distribution<float>(low, high)(random_); }

  HbitNetwork network() {
    HbitNetwork network;
    network.height = between(1, 9);
    network.width = between(1, 9);
    network.channels = one_of({1U, 2U, 3U, 4U, 5U});
    network.bits = one_of({1U, 2U, 3U, 4U, 8U});
    network.pixels = pixel_table(network.bits);
    network.model = "drawn";
    const std::uint32_t depth = between(1, 4);
    std::uint32_t height = network.height, width = network.width, channels = network.channels;
    enum class Kind : std::uint8_t { codes, signs, reals } kind = Kind::codes;
    for (std::uint32_t i = 0; i < depth; ++i) {
      const bool last = i + 1 == depth;
      HbitLayer l;
      l.name = "layer " + std::to_string(i);
      l.binary = kind == Kind::signs || (kind == Kind::codes && chance(70));
      l.signs = !last && (l.binary ? chance(85) : chance(60));
      l.height = height;
      l.width = width;
      l.channels = channels;
      window(l, last);
      l.outputs = last ? between(1, 12) : one_of({1U, 3U, 8U, 20U, 32U, 33U, 64U, 70U, 130U});
      if (channels % 2 == 0 && chance(25)) {
        l.groups = 2;
        l.outputs = (l.outputs + 1) / 2 * 2;
      }
      parameters(l, network.levels(), kind == Kind::codes);
      height = l.pooled_rows();
      width = l.pooled_columns();
      channels = l.outputs;
      kind = l.signs ? Kind::signs : Kind::reals;
      network.layers.push_back(std::move(l));
    }
    network.classes = channels;
    return network;
  }

  std::vector<std::uint8_t> images(const HbitNetwork& network, std::int64_t count) {
    std::vector<std::uint8_t> images(static_cast<std::size_t>(count) * network.height * network.width *
                                     network.channels);
    for (std::uint8_t& v : images) v = static_cast<std::uint8_t>(between(0, 255));
    return images;
  }

 private:
  void window(HbitLayer& l, bool last) {
    if (last || chance(15)) {  // fully connected
      l.kernel = {l.height, l.width};
      return;
    }
    for (std::size_t axis = 0; axis < 2; ++axis) {
      const std::uint32_t size = axis == 0 ? l.height : l.width;
      l.kernel[axis] = between(1, 4);
      l.dilation[axis] = chance(25) ? 2 : 1;
      l.stride[axis] = chance(25) ? 2 : 1;
      const std::uint32_t reach = l.dilation[axis] * (l.kernel[axis] - 1) + 1;
      std::uint32_t& before = l.padding[2 * axis];
      std::uint32_t& after = l.padding[2 * axis + 1];
      before = chance(60) ? between(0, 2) : 0;
      after = chance(60) ? between(0, 2) : 0;
      if (size + before + after < reach) after = reach - size - before;
    }
    const bool pads = (l.padding[0] | l.padding[1] | l.padding[2] | l.padding[3]) != 0;
    l.ones = l.binary && pads && chance(30);
    if (!chance(40)) return;
    for (std::size_t axis = 0; axis < 2; ++axis) {
      const std::uint32_t size = axis == 0 ? l.rows() : l.columns();
      l.pool[axis] = between(1, std::min(3U, size));
    }
    if (l.pool[0] * l.pool[1] == 1) return;
    for (std::size_t axis = 0; axis < 2; ++axis) {
      l.pool_stride[axis] = between(1, 3);
      l.pool_padding[2 * axis] = chance(30) ? between(0, l.pool[axis] - 1) : 0;
      l.pool_padding[2 * axis + 1] = chance(30) ? between(0, l.pool[axis] - 1) : 0;
    }
  }

  void parameters(HbitLayer& l, int levels, bool codes) {
    const std::size_t m = l.outputs;
    const std::size_t count = m * l.k();
    const auto reach = static_cast<std::int32_t>(l.k()) * (codes ? levels : 1);
    if (l.binary) {
      for (std::size_t i = 0; i < count; ++i) l.weight_signs.push_back(chance(50) ? 1 : -1);
    } else {
      for (std::size_t i = 0; i < count; ++i) l.weights.push_back(real(-1, 1));
      if (chance(50)) {
        for (std::size_t j = 0; j < m; ++j) l.bias.push_back(real(-1, 1));
      }
    }
    const auto spread = static_cast<float>(std::sqrt(static_cast<double>(reach)));
    if (l.binary && l.signs) {
      for (std::size_t j = 0; j < m; ++j) {
        const auto near = static_cast<std::int32_t>(std::lround(real(-spread, spread)));
        l.minimum.push_back(chance(5)   ? std::numeric_limits<std::int32_t>::min()
                            : chance(5) ? std::numeric_limits<std::int32_t>::max()
                            : chance(5) ? -reach
                            : chance(5) ? reach
                                        : near);
      }
      if (l.pool[0] * l.pool[1] > 1) {
        for (std::size_t j = 0; j < m; ++j) l.all.push_back(chance(40));
      }
      return;
    }
    if (l.binary) {
      for (std::size_t j = 0; j < m; ++j) l.scale.push_back(chance(10) ? 0 : real(0.01F, 2));
    }
    l.batch_norm = chance(70);
    l.relu = !l.signs && chance(50);
    if (!l.batch_norm) return;
    for (std::size_t j = 0; j < m; ++j) {
      l.mean.push_back(real(-spread, spread));
      l.factor.push_back(chance(10) ? 0 : real(-2, 2));
      l.beta.push_back(real(-1, 1));
    }
  }

  std::mt19937 random_;
};

}  // namespace hardbit::test
