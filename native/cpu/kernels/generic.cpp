#include <cmath>

#include "cpu/kernels/table.h"
#include "ops/discretize.h"

// Plain C++ for any CPU.

namespace hardbit::cpu {
namespace {

// Bits [rows][words(columns)] from a predicate on the element's index.
template <class Predicate>
void pack_bits(std::int64_t rows, std::int64_t columns, std::uint64_t* bits, const Predicate& predicate) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; c += 64) {
      const std::int64_t n = columns - c < 64 ? columns - c : 64;
      std::uint64_t word = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        word |= static_cast<std::uint64_t>(predicate(r * columns + c + i)) << i;
      }
      *bits++ = word;
    }
  }
}

// body(index of the element, its bit).
template <class Body>
void for_each_bit(const std::uint64_t* bits, std::int64_t rows, std::int64_t columns, const Body& body) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; c += 64) {
      const std::int64_t n = columns - c < 64 ? columns - c : 64;
      const std::uint64_t word = *bits++;
      for (std::int64_t i = 0; i < n; ++i) body(r * columns + c + i, (word >> i & 1) != 0);
    }
  }
}

void pack_signs(const float* x, std::int64_t rows, std::int64_t columns, std::uint64_t* bits) {
  pack_bits(rows, columns, bits, [x](std::int64_t i) { return x[i] >= 0.0F; });
}

void unpack_signs(const std::uint64_t* bits, std::int64_t rows, std::int64_t columns, float* x) {
  for_each_bit(bits, rows, columns, [x](std::int64_t i, bool bit) { x[i] = bit ? 1.0F : -1.0F; });
}

void sign_forward(const float* x, std::int64_t rows, std::int64_t columns, std::uint64_t* signs,
                  std::uint64_t* mask) {
  pack_signs(x, rows, columns, signs);
  pack_bits(rows, columns, mask, [x](std::int64_t i) { return std::fabs(x[i]) <= 1.0F; });
}

void mask_backward(const float* dy, const std::uint64_t* mask, std::int64_t rows, std::int64_t columns,
                   float* dx) {
  for_each_bit(mask, rows, columns, [dy, dx](std::int64_t i, bool bit) { dx[i] = bit ? dy[i] : 0.0F; });
}

void approx_sign_backward(const float* dy, const float* x, std::int64_t count, float* dx) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float a = std::fabs(x[i]);
    dx[i] = a <= 1.0F ? dy[i] * (2.0F - 2.0F * a) : 0.0F;
  }
}

void discretize(const float* x, std::int64_t count, int bits, std::uint8_t* codes) {
  for (std::int64_t i = 0; i < count; ++i) codes[i] = quantize_code(x[i], bits);
}

void codes_to_float(const std::uint8_t* codes, std::int64_t count, int bits, float* x) {
  const float levels = static_cast<float>((1 << bits) - 1);
  for (std::int64_t i = 0; i < count; ++i) x[i] = static_cast<float>(codes[i]) / levels;
}

// Bit 0 of each of the eight bytes, gathered into a byte: byte i lands on bit 56 + i, by the factor 2^(56 −
// 7i), and no two products share a bit, so nothing carries.
std::uint64_t gather_low_bits(std::uint64_t bytes) {
  return ((bytes & 0x0101010101010101) * 0x0102040810204080) >> 56;
}

std::uint8_t pack_planes(const std::uint8_t* codes, std::int64_t rows, std::int64_t columns, int bits,
                         std::uint64_t* planes) {
  const std::int64_t words = (columns + 63) / 64;
  std::uint64_t any = 0;
  for (std::int64_t r = 0; r < rows; ++r, codes += columns, planes += bits * words) {
    for (std::int64_t k = 0; k < words; ++k) {
      std::uint64_t plane[8] = {};
      for (int byte = 0; byte < 8; ++byte) {
        const std::int64_t c = k * 64 + byte * 8;
        std::uint64_t eight = 0;
        for (std::int64_t i = 0; i < 8 && c + i < columns; ++i) {
          eight |= static_cast<std::uint64_t>(codes[c + i]) << (8 * i);
        }
        any |= eight;
        for (int p = 0; p < bits; ++p) plane[p] |= gather_low_bits(eight >> p) << (8 * byte);
      }
      for (int p = 0; p < bits; ++p) planes[p * words + k] = plane[p];
    }
  }
  any |= any >> 32;
  any |= any >> 16;
  return static_cast<std::uint8_t>(any | any >> 8);
}

}  // namespace

constinit const BitKernels bit_kernels_generic = {
    Isa::generic,         pack_signs, unpack_signs,   sign_forward, mask_backward,
    approx_sign_backward, discretize, codes_to_float, pack_planes,
};

}  // namespace hardbit::cpu
