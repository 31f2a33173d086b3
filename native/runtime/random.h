#pragma once
#include <array>
#include <bit>
#include <cstdint>

namespace hardbit {

/// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011): a
/// bijection of a 128-bit counter chosen by a 64-bit key. Every word is a function of (key, counter) alone,
/// so any thread or device can compute any part of a stream.
class Philox {
 public:
  using Block = std::array<std::uint32_t, 4>;

  constexpr explicit Philox(std::uint64_t key) : key_(key) {}

  constexpr Block operator()(Block counter) const {
    auto k0 = static_cast<std::uint32_t>(key_);
    auto k1 = static_cast<std::uint32_t>(key_ >> 32);
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t p0 = std::uint64_t{0xD2511F53} * counter[0];
      const std::uint64_t p1 = std::uint64_t{0xCD9E8D57} * counter[2];
      counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ k0, static_cast<std::uint32_t>(p1),
                 static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ k1, static_cast<std::uint32_t>(p0)};
      k0 += 0x9E3779B9;
      k1 += 0xBB67AE85;
    }
    return counter;
  }

  /// Block `block` of row `row` of stream `stream`: the counter is (block, row low, row high, stream).
  constexpr Block row_block(std::uint32_t block, std::uint64_t row, std::uint32_t stream) const {
    return (*this)({block, static_cast<std::uint32_t>(row), static_cast<std::uint32_t>(row >> 32), stream});
  }

  /// Block `block` of a flat stream: the counter is (block low, block high, 0, stream).
  constexpr Block flat_block(std::uint64_t block, std::uint32_t stream) const {
    return (*this)({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), 0, stream});
  }

 private:
  std::uint64_t key_;
};

/// The words of a flat stream, one after another.
class PhiloxStream {
 public:
  constexpr PhiloxStream(std::uint64_t key, std::uint32_t stream) : philox_(key), stream_(stream) {}

  constexpr std::uint32_t next() {
    if (position_ % 4 == 0) block_ = philox_.flat_block(position_ / 4, stream_);
    return block_[position_++ % 4];
  }

  /// Uniform in [0, bound), bound >= 1, without bias (Lemire, "Fast Random Integer Generation in an
  /// Interval", 2019).
  constexpr std::uint32_t below(std::uint32_t bound) {
    std::uint64_t product = std::uint64_t{next()} * bound;
    if (static_cast<std::uint32_t>(product) < bound) {
      const std::uint32_t threshold = (0U - bound) % bound;
      while (static_cast<std::uint32_t>(product) < threshold) product = std::uint64_t{next()} * bound;
    }
    return static_cast<std::uint32_t>(product >> 32);
  }

 private:
  Philox philox_;
  std::uint32_t stream_;
  std::uint64_t position_ = 0;
  Philox::Block block_{};
};

/// A multiple of 2^-24 in [0, 1).
constexpr float unit_float(std::uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24F; }

/// The largest fp32 number below x, which is finite: std::nextafter, for every device.
constexpr float float_below(float x) {
  const auto pattern = std::bit_cast<std::uint32_t>(x);
  if (x == 0) return -0x1p-149F;
  return std::bit_cast<float>(x > 0 ? pattern - 1 : pattern + 1);
}

/// Uniform in [low, high) from one word; low where high is no larger. The sum may round up to `high`, which
/// is then replaced by its predecessor.
constexpr float uniform(std::uint32_t word, float low, float high) {
  const float value = low + (high - low) * unit_float(word);
  if (value < high) return value;
  return low < high ? float_below(high) : low;
}

}  // namespace hardbit
