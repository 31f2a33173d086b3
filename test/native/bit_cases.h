#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "runtime/cpu_features.h"
#include "runtime/tensor.h"
#include "support.h"

// Inputs of the tests of bits and codes.

namespace hardbit::test {

inline bool available(Isa isa) {
  const auto isas = available_isas();
  return std::find(isas.begin(), isas.end(), isa) != isas.end();
}

/// Row lengths around words, vectors and tiles.
inline const std::vector<std::int64_t> awkward_lengths = {0,  1,  2,  7,  8,  9,   15,  16,  17,  23,  24, 25,
                                                          31, 33, 63, 64, 65, 127, 128, 129, 600, 784, 785};

/// Values around every comparison of the kernels, and ordinary ones.
inline std::vector<float> awkward_floats(std::size_t count, std::uint32_t seed) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  const float special[] = {0.0F,
                           -0.0F,
                           1.0F,
                           -1.0F,
                           std::nextafter(1.0F, 2.0F),
                           std::nextafter(-1.0F, -2.0F),
                           std::nextafter(1.0F, 0.0F),
                           std::nextafter(-1.0F, 0.0F),
                           std::numeric_limits<float>::denorm_min(),
                           -std::numeric_limits<float>::denorm_min(),
                           infinity,
                           -infinity,
                           nan,
                           -nan,
                           std::numeric_limits<float>::max(),
                           -std::numeric_limits<float>::max()};
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1.5F, 1.5F);
  std::vector<float> values(count);
  for (float& value : values)
    value = random() % 4 == 0 ? special[random() % std::size(special)] : uniform(random);
  return values;
}

inline Tensor awkward_tensor(Shape shape, std::uint32_t seed) {
  const auto count = static_cast<std::size_t>(element_count(shape));
  return make(std::move(shape), awkward_floats(count, seed));
}

/// Uniform ±1; padding bits zero.
inline Tensor random_bits(Shape shape, std::uint32_t seed) {
  std::mt19937_64 random(seed);
  Tensor x = Tensor::zeros(DType::bits, std::move(shape));
  for (std::int64_t r = 0; r < x.rows(); ++r) {
    for (std::int64_t c = 0; c < x.columns(); c += 64) {
      const std::int64_t n = std::min<std::int64_t>(64, x.columns() - c);
      const std::uint64_t valid = n == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
      x.data<std::uint64_t>()[r * x.row_words() + c / 64] = random() & valid;
    }
  }
  return x;
}

/// Uniform codes 0 … 2^bits − 1.
inline Tensor random_codes(Shape shape, int bits, std::uint32_t seed) {
  std::mt19937 random(seed);
  Tensor x = Tensor::empty(DType::u8, std::move(shape));
  for (std::uint8_t& code : x.span<std::uint8_t>())
    code = static_cast<std::uint8_t>(random() & ((1U << bits) - 1));
  return x;
}

/// Same dtype, shape and bytes (so that −0 differs from 0, and padding bits count).
inline void expect_same(const Tensor& actual, const Tensor& expected, const std::string& what) {
  ASSERT_EQ(actual.dtype(), expected.dtype()) << what;
  ASSERT_EQ(actual.shape(), expected.shape()) << what;
  // On whatever devices they are.
  ASSERT_TRUE(bytes(actual) == bytes(expected)) << what;
}

}  // namespace hardbit::test
