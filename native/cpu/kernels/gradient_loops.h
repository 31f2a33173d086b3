#pragma once
#include <cstdint>
#include <cstring>

#include "cpu/kernels/gradient.h"

// The kernels of gradient.h as plain loops that compilers vectorise. Each instruction set's file includes
// them under its own flags; so all is in an unnamed namespace, and nothing of it can be linked elsewhere.

namespace hardbit::cpu {
namespace {

constexpr int group = 128;  // elements that take their draws from 16 blocks of Philox

constexpr int side = 16;  // of a tile of floats

constexpr int lanes = 8;  // of 64 bits, side by side

/// a − b, wrapping around.
std::int32_t difference(std::int32_t a, std::int32_t b) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) - static_cast<std::uint32_t>(b));
}

/// Columns of eight bytes: column c is of[c % 8][c / 8].
struct Columns {
  alignas(64) std::uint64_t of[8][lanes];
};

/// What an instruction set may do better than a compiler.
struct PlainSource {
  /// The first `width` of 64 bytes, and zeros.
  static void load(const std::uint8_t* from, std::int64_t width, std::uint64_t (&bytes)[lanes]) {
    if (width < 64) std::memset(bytes, 0, sizeof bytes);
    std::memcpy(bytes, from, static_cast<std::size_t>(width < 64 ? width : 64));
  }

  /// Eight rows of 64 bytes become columns, each byte ^ flip.
  static void transpose(Columns& v, std::uint8_t flip) {
    const auto swap = [&v](int distance, int shift, std::uint64_t mask) {
      for (int i = 0; i < 8; ++i) {
        if ((i & distance) != 0) continue;
        for (int l = 0; l < lanes; ++l) {
          const std::uint64_t t = ((v.of[i][l] >> shift) ^ v.of[i + distance][l]) & mask;
          v.of[i][l] ^= t << shift;
          v.of[i + distance][l] ^= t;
        }
      }
    };
    swap(4, 32, 0x00000000FFFFFFFFU);
    swap(2, 16, 0x0000FFFF0000FFFFU);
    swap(1, 8, 0x00FF00FF00FF00FFU);
    for (auto& row : v.of) {
      for (std::uint64_t& word : row) word ^= 0x0101010101010101U * flip;
    }
  }

  /// Eight rows of 64 bits become columns, each bit the byte `zero` or `one`.
  static void unpack(std::uint64_t (&rows)[8], std::uint8_t zero, std::uint8_t one, Columns& bytes) {
    const std::uint64_t zeros = 0x0101010101010101U * zero;
    const std::uint64_t change = zeros ^ 0x0101010101010101U * one;
    // Byte t of row r, that is columns 8t … 8t + 7, becomes byte r of rows[t].
    const auto swap = [&rows](int distance, int shift, std::uint64_t mask) {
      for (int r = 0; r < 8; ++r) {
        if ((r & distance) != 0) continue;
        const std::uint64_t t = ((rows[r] >> shift) ^ rows[r + distance]) & mask;
        rows[r] ^= t << shift;
        rows[r + distance] ^= t;
      }
    };
    swap(4, 32, 0x00000000FFFFFFFFU);
    swap(2, 16, 0x0000FFFF0000FFFFU);
    swap(1, 8, 0x00FF00FF00FF00FFU);
    for (int bit = 0; bit < 8; ++bit) {
      for (int t = 0; t < 8; ++t) {
        const std::uint64_t ones = (rows[t] >> bit) & 0x0101010101010101U;
        bytes.of[bit][t] = (((ones << 8) - ones) & change) ^ zeros;  // 1 becomes 255 in each byte
      }
    }
  }

  /// row[j] = (sums[j] − minus[j]) · factor[j] · drop[j], of one row of a tile.
  static void scale_row(const std::int32_t* sums, const std::int32_t* minus, const float* factor,
                        const float* drop, float (&row)[side]) {
    for (int j = 0; j < side; ++j)
      row[j] = static_cast<float>(difference(sums[j], minus[j])) * factor[j] * drop[j];
  }

  /// A row of a tile, added to what stands there where `add`. `past`: nobody needs it soon, it may go past
  /// the caches.
  static void put(const float (&row)[side], bool add, bool /*past*/, float* out) {
    for (int i = 0; i < side; ++i) out[i] = add ? out[i] + row[i] : row[i];
  }

  /// Behind the last row: other threads see them from here on.
  static void end_rows() {}

  static void transpose(float (&tile)[side][side]) {
    for (int i = 1; i < side; ++i) {
      for (int j = 0; j < i; ++j) {
        const float t = tile[i][j];
        tile[i][j] = tile[j][i];
        tile[j][i] = t;
      }
    }
  }

  /// The 64 words of 16 blocks of draws, in the order in which elements take their halves: words 0 and 1 of
  /// blocks 0 … 7, words 2 and 3 of the same, then blocks 8 … 15.
  static void words(const Draws& draws, std::uint32_t block, std::uint32_t* out) {
    std::uint32_t w0[16], w1[16], w2[16], w3[16];
    const auto step_low = static_cast<std::uint32_t>(draws.step);
    const auto step_high = static_cast<std::uint32_t>(draws.step >> 32);
    const auto key_low = static_cast<std::uint32_t>(draws.key);
    const auto key_high = static_cast<std::uint32_t>(draws.key >> 32);
    const std::uint32_t stream = draws.stream;
    for (std::uint32_t i = 0; i < 16; ++i) {
      std::uint32_t c0 = block + i, c1 = step_low, c2 = step_high, c3 = stream;
      std::uint32_t k0 = key_low, k1 = key_high;
#pragma GCC unroll 10
      for (int round = 0; round < 10; ++round) {
        const auto p0 = static_cast<std::uint32_t>((std::uint64_t{0xD2511F53} * c0) >> 32);
        const auto p1 = static_cast<std::uint32_t>((std::uint64_t{0xCD9E8D57} * c2) >> 32);
        const std::uint32_t low0 = 0xD2511F53U * c0;
        const std::uint32_t low1 = 0xCD9E8D57U * c2;
        c0 = p1 ^ c1 ^ k0;
        c1 = low1;
        c2 = p0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9U;
        k1 += 0xBB67AE85U;
      }
      w0[i] = c0;
      w1[i] = c1;
      w2[i] = c2;
      w3[i] = c3;
    }
    for (int half = 0; half < 2; ++half) {
      for (int i = 0; i < 8; ++i) {
        out[half * 32 + 2 * i] = w0[half * 8 + i];
        out[half * 32 + 2 * i + 1] = w1[half * 8 + i];
        out[half * 32 + 16 + 2 * i] = w2[half * 8 + i];
        out[half * 32 + 16 + 2 * i + 1] = w3[half * 8 + i];
      }
    }
  }
};

std::uint32_t larger(std::uint32_t a, std::uint32_t b) { return a > b ? a : b; }

std::uint32_t magnitude_bits(float x) { return __builtin_bit_cast(std::uint32_t, x) & 0x7FFFFFFFU; }

std::uint32_t magnitude(const float* x, const float* a, std::int64_t period, std::int64_t n,
                        std::uint32_t most) {
  for (; n > 0; n -= period, x += period) {
    const std::int64_t width = n < period ? n : period;
    for (std::int64_t i = 0; i < width; ++i) most = larger(most, magnitude_bits(x[i] * a[i]));
  }
  return most;
}

void column_magnitudes(const float* x, std::int64_t rows, std::int64_t columns,
                       std::uint32_t* __restrict most) {
  for (std::int64_t r = 0; r < rows; ++r, x += columns) {
    for (std::int64_t c = 0; c < columns; ++c) most[c] = larger(most[c], magnitude_bits(x[c]));
  }
}

template <class Source>
void quantize_group(const Draws& draws, std::uint32_t block, const float* x, const float* a, const float* b,
                    float most, std::uint8_t* out) {
  alignas(64) std::uint32_t words[group / 2];
  alignas(64) std::uint32_t sums[group];
  Source::words(draws, block, words);
  for (int i = 0; i < group; ++i) {
    float t = x[i] * a[i] * b[i];
    t = t < most ? t : most;
    t = t > -most ? t : -most;
    // 2^23 is 128 steps of 2^16; the sum is below 2^24, where floats are whole numbers and their halves.
    sums[i] = static_cast<std::uint32_t>(static_cast<std::int32_t>(t + 0x1p23F));
  }
  for (int i = 0; i < group / 2; ++i) sums[i] += words[i] & 0xFFFFU;
  for (int i = 0; i < group / 2; ++i) sums[group / 2 + i] += words[i] >> 16;
  for (int i = 0; i < group; ++i) out[i] = static_cast<std::uint8_t>(sums[i] >> 16);
}

template <class Source>
void quantize(const Draws& draws, std::uint32_t block, const float* x, const float* a, const float* b,
              std::int64_t period, int levels, std::int64_t n, std::uint8_t* out) {
  const float most = static_cast<float>(levels) * 0x1p16F;
  std::int64_t at = 0;  // in the period
  for (; n >= group; n -= group, block += 16, x += group, out += group) {
    quantize_group<Source>(draws, block, x, a + at, b + at, most, out);
    at += group;
    if (at == period) at = 0;
  }
  if (n == 0) return;
  a += at;
  b += at;
  float padded[3][group] = {};
  std::uint8_t bytes[group];
  const auto size = static_cast<std::size_t>(n);
  std::memcpy(padded[0], x, size * sizeof(float));
  std::memcpy(padded[1], a, size * sizeof(float));
  std::memcpy(padded[2], b, size * sizeof(float));
  quantize_group<Source>(draws, block, padded[0], padded[1], padded[2], most, bytes);
  std::memcpy(out, bytes, size);
}

/// The first `height` bytes of each of `count` columns.
void store_columns(const Columns& v, std::int64_t count, int height, std::uint8_t* y, std::int64_t pitch) {
  if (height == 8) {
    for (std::int64_t c = 0; c < count; ++c, y += pitch) std::memcpy(y, &v.of[c % 8][c / 8], 8);
  } else {
    for (std::int64_t c = 0; c < count; ++c, y += pitch)
      std::memcpy(y, &v.of[c % 8][c / 8], static_cast<std::size_t>(height));
  }
}

template <class Source>
void transpose(const std::uint8_t* x, std::int64_t stride, std::int64_t n, std::int64_t columns,
               std::uint8_t flip, std::uint8_t* y, std::int64_t pitch) {
  constexpr std::int64_t few = 4;  // columns that are sooner copied by themselves
  if (columns < few) {
    for (std::int64_t c = 0; c < columns; ++c) {
      for (std::int64_t i = 0; i < n; ++i) y[c * pitch + i] = x[i * stride + c] ^ flip;
    }
    return;
  }
  for (std::int64_t c = 0; c < columns; c += 64) {
    const std::int64_t width = columns - c < 64 ? columns - c : 64;
    for (std::int64_t i = 0; i < n; i += 8) {
      const auto height = static_cast<int>(n - i < 8 ? n - i : 8);
      Columns v;
      for (int r = 0; r < height; ++r) Source::load(x + (i + r) * stride + c, width, v.of[r]);
      for (int r = height; r < 8; ++r) std::memset(v.of[r], 0, sizeof v.of[r]);
      Source::transpose(v, flip);
      store_columns(v, width, height, y + c * pitch + i, pitch);
    }
  }
}

template <class Source>
void unpack(const std::uint64_t* x, std::int64_t stride, std::int64_t n, std::int64_t channels,
            std::uint8_t zero, std::uint8_t one, std::uint8_t* y, std::int64_t pitch) {
  for (std::int64_t i = 0; i < n; i += 8) {
    const auto height = static_cast<int>(n - i < 8 ? n - i : 8);
    std::uint64_t rows[8];
    for (int r = 0; r < 8; ++r) rows[r] = r < height ? x[(i + r) * stride] : 0;
    Columns v;
    Source::unpack(rows, zero, one, v);
    store_columns(v, channels, height, y + i, pitch);
  }
}

void scale(const std::int32_t* sums, float factor, float drop, std::int64_t n, float* __restrict out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(sums[i]) * factor * drop;
}

template <class Source>
void scale_transposed(const std::int32_t* sums, std::int64_t rows, std::int64_t pitch, std::int64_t columns,
                      const std::int32_t* minus, const float* factor, const float* drop, bool add,
                      std::int64_t stride, float* out) {
  // Of more than half a second-level cache nothing would be left there.
  const bool past = stride * columns >= 1 << 17;
  for (std::int64_t c = 0; c < columns; c += side) {
    const auto width = static_cast<int>(columns - c < side ? columns - c : side);
    for (std::int64_t r = 0; r < rows; r += side) {
      const auto height = static_cast<int>(rows - r < side ? rows - r : side);
      alignas(64) float tile[side][side];
      for (int i = 0; i < height; ++i) {
        const std::int32_t* const from = sums + (r + i) * pitch + c;
        if (width == side) {
          Source::scale_row(from, minus + c, factor + c, drop + c, tile[i]);
        } else {
          for (int j = 0; j < width; ++j) {
            tile[i][j] = static_cast<float>(difference(from[j], minus[c + j])) * factor[c + j] * drop[c + j];
          }
        }
      }
      if (width == side && height == side) {
        Source::transpose(tile);
        for (int j = 0; j < side; ++j) Source::put(tile[j], add, past, out + (c + j) * stride + r);
        continue;
      }
      for (int j = 0; j < width; ++j) {
        float* const to = out + (c + j) * stride + r;
        for (int i = 0; i < height; ++i) to[i] = add ? to[i] + tile[i][j] : tile[i][j];
      }
    }
  }
  Source::end_rows();
}

/// A row of the table; `Source` makes the draws and turns tiles of floats.
template <class Source>
constexpr GradientKernels gradient_row(const char* name, Isa isa) {
  return {.name = name,
          .isa = isa,
          .magnitude = magnitude,
          .column_magnitudes = column_magnitudes,
          .quantize = quantize<Source>,
          .transpose = transpose<Source>,
          .unpack = unpack<Source>,
          .scale = scale,
          .scale_transposed = scale_transposed<Source>};
}

}  // namespace
}  // namespace hardbit::cpu
