#include <bit>
#include <cstring>

#include "cpu/kernels/product.h"

// Plain C++. Packed weights: [ceil(channels / 8)][words][8], so that one word of activations meets eight
// channels.

namespace hardbit::cpu {
namespace {

constexpr int row_tile = 4;
constexpr int lanes = 8;

std::int64_t groups_of(std::int64_t channels) { return (channels + lanes - 1) / lanes; }

std::size_t packed_bytes(std::int64_t channels, std::int64_t words) {
  return static_cast<std::size_t>(groups_of(channels) * words * lanes) * 4;
}

template <class Word>
void pack_words(const Word* w, std::int64_t channels, std::int64_t words, Word* packed) {
  for (std::int64_t c = 0; c < groups_of(channels) * lanes; c += lanes) {
    for (std::int64_t k = 0; k < words; ++k) {
      for (std::int64_t lane = c; lane < c + lanes; ++lane) {
        *packed++ = lane < channels ? w[lane * words + k] : Word{0};
      }
    }
  }
}

void pack(const std::uint32_t* w, std::int64_t channels, std::int64_t words, void* packed) {
  pack_words(w, channels, words, static_cast<std::uint32_t*>(packed));
}

void pack_rows(const std::uint8_t* w, std::int64_t pitch, std::int64_t channels, std::int64_t count,
               std::uint8_t flip, std::int64_t words, void* packed) {
  for (std::int64_t c = 0; c < groups_of(channels) * lanes; c += lanes) {
    std::uint8_t* out = static_cast<std::uint8_t*>(packed) + c * words * 4;
    for (std::int64_t k = 0; k < count; ++k) {
      for (std::int64_t lane = c; lane < c + lanes; ++lane) {
        for (std::int64_t i = 4 * k; i < 4 * k + 4; ++i)
          *out++ = lane < channels ? static_cast<std::uint8_t>(w[i * pitch + lane] ^ flip) : std::uint8_t{0};
      }
    }
  }
}

void pack_float(const float* w, std::int64_t channels, std::int64_t k, float* packed) {
  pack_words(w, channels, k, packed);
}

struct Bits {
  static std::int32_t add(std::int32_t sum, std::uint32_t x, std::uint32_t w) {
    return sum + std::popcount(x ^ w);
  }
};

struct Bytes {
  static std::int32_t add(std::int32_t sum, std::uint32_t x, std::uint32_t w) {
    for (int shift = 0; shift < 32; shift += 8) {
      const auto a = static_cast<std::uint8_t>(x >> shift);
      const auto b = static_cast<std::int8_t>(static_cast<std::uint8_t>(w >> shift));
      sum += std::int32_t{a} * b;
    }
    return sum;
  }
};

/// S of one row and the eight channels of a group.
template <class Arithmetic>
void sums_of(const ProductTile& t, int row, int group, std::int32_t (&sums)[lanes]) {
  const std::int64_t words = t.windows.segments * t.windows.segment_words + t.w_rest;
  const auto* const weights = static_cast<const std::uint32_t*>(t.w) + (group * words + t.w_first) * lanes;
  for (std::int32_t& sum : sums) sum = 0;
  for (int p = t.planes - 1; p >= 0; --p) {  // Horner's rule
    const std::uint32_t* w = weights;
    for (std::int32_t& sum : sums) sum += sum;
    for (std::int64_t s = 0; s < t.windows.segments; ++s, w += t.w_skip * lanes) {
      const std::uint8_t* x = t.windows.x[row] + t.windows.offsets[s] + p * t.plane_pitch;
      for (std::int64_t k = 0; k < t.windows.segment_words; ++k, x += 4, w += lanes) {
        std::uint32_t word;
        std::memcpy(&word, x, 4);
        for (int lane = 0; lane < lanes; ++lane) sums[lane] = Arithmetic::add(sums[lane], word, w[lane]);
      }
    }
  }
}

/// Calls store(row, first channel of a group, channels present, their sums).
template <class Arithmetic, class Store>
void for_groups(const ProductTile& t, const Store& store) {
  std::int32_t sums[lanes];
  for (int row = 0; row < t.rows; ++row) {
    for (int c = 0; c < t.columns; c += lanes) {
      sums_of<Arithmetic>(t, row, c / lanes, sums);
      store(row, c, t.columns - c < lanes ? t.columns - c : lanes, sums);
    }
  }
}

template <class Arithmetic>
void store_bits(const ProductTile& t, const BitStore& store) {
  for_groups<Arithmetic>(t, [&](int row, int c, int present, const std::int32_t* sums) {
    unsigned byte = 0;
    for (int lane = 0; lane < present; ++lane) {
      byte |= static_cast<unsigned>(sums[lane] <= store.thresholds[row][c + lane]) << lane;
    }
    store.out[row][c / 8] = static_cast<std::uint8_t>(byte);
  });
}

template <class Arithmetic, class Out>
void store_sums(const ProductTile& t, const SumStore<Out>& store) {
  for_groups<Arithmetic>(t, [&](int row, int c, int present, const std::int32_t* sums) {
    for (int lane = 0; lane < present; ++lane) {
      // Unsigned: wraps around.
      const std::uint32_t value =
          static_cast<std::uint32_t>(store.offsets[row][c + lane]) -
          static_cast<std::uint32_t>(store.factor) * static_cast<std::uint32_t>(sums[lane]);
      store.out[row][c + lane] = static_cast<Out>(value);
    }
  });
}

void run_float(const FloatTile& t) {
  const std::int64_t k = t.windows.segments * t.windows.segment_words;
  for (int row = 0; row < t.rows; ++row) {
    for (int c = 0; c < t.columns; c += lanes) {
      const float* w = t.w + c * k;
      float sums[lanes] = {};
      for (std::int64_t s = 0; s < t.windows.segments; ++s) {
        const std::uint8_t* x = t.windows.x[row] + t.windows.offsets[s];
        for (std::int64_t i = 0; i < t.windows.segment_words; ++i, x += 4, w += lanes) {
          float value;
          std::memcpy(&value, x, 4);
          for (int lane = 0; lane < lanes; ++lane) sums[lane] += value * w[lane];
        }
      }
      for (int lane = 0; lane < lanes && c + lane < t.columns; ++lane) {
        t.out[row][c + lane] = sums[lane] + t.bias[c + lane];
      }
    }
  }
}

// -- limits: independent sums, enough of them to hide latencies

template <class Word, int count, class Step>
std::uint64_t loop(std::int64_t iterations, const Step& step) {
  Word sums[count];
  for (int i = 0; i < count; ++i) sums[i] = static_cast<Word>(i);
  for (std::int64_t n = 0; n < iterations; ++n) {
    for (int i = 0; i < count; ++i) sums[i] = step(sums[i], static_cast<Word>(n));
  }
  Word total = 0;
  for (int i = 0; i < count; ++i) total += sums[i];
  std::uint64_t bits = 0;
  std::memcpy(&bits, &total, sizeof total);
  return bits;
}

std::uint64_t popcount_limit(std::int64_t iterations) {
  return loop<std::uint64_t, 8>(iterations, [](std::uint64_t sum, std::uint64_t n) {
    return sum + static_cast<std::uint64_t>(std::popcount(sum ^ n));
  });
}

std::uint64_t int8_limit(std::int64_t iterations) {
  return loop<std::int32_t, 16>(iterations, [](std::int32_t sum, std::int32_t n) {
    return sum + std::int32_t{static_cast<std::uint8_t>(n)} * static_cast<std::int8_t>(sum ^ n);
  });
}

std::uint64_t fp32_limit(std::int64_t iterations) {
  return loop<float, 32>(iterations, [](float sum, float n) { return sum + n * 0.5F; });
}

}  // namespace

const ProductKernel bits_generic = {.name = "bits_4x8_generic",
                                    .isa = Isa::generic,
                                    .operand = Operand::bits,
                                    .mr = row_tile,
                                    .nr = lanes,
                                    .lanes = lanes,
                                    .packed_bytes = packed_bytes,
                                    .pack = pack,
                                    .store_bits = store_bits<Bits>,
                                    .store_i16 = store_sums<Bits, std::int16_t>,
                                    .store_i32 = store_sums<Bits, std::int32_t>};

const ProductKernel bytes_generic = {.name = "bytes_4x8_generic",
                                     .isa = Isa::generic,
                                     .operand = Operand::bytes,
                                     .mr = row_tile,
                                     .nr = lanes,
                                     .lanes = lanes,
                                     .packed_bytes = packed_bytes,
                                     .pack = pack,
                                     .pack_rows = pack_rows,
                                     .store_bits = store_bits<Bytes>,
                                     .store_i16 = store_sums<Bytes, std::int16_t>,
                                     .store_i32 = store_sums<Bytes, std::int32_t>};

const FloatKernel float_generic = {.name = "float_4x8_generic",
                                   .isa = Isa::generic,
                                   .mr = row_tile,
                                   .nr = lanes,
                                   .lanes = lanes,
                                   .packed_bytes = packed_bytes,
                                   .pack = pack_float,
                                   .run = run_float};

const Limit popcount_limit_generic = {"popcount", Isa::generic, 8 * 64, popcount_limit};
const Limit int8_limit_generic = {"int8", Isa::generic, 16, int8_limit};
const Limit fp32_limit_generic = {"fp32", Isa::generic, 32, fp32_limit};

}  // namespace hardbit::cpu
