#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <random>
#include <span>
#include <string>

#include "bit_cases.h"
#include "conv_cases.h"
#include "cuda/binary_product.h"
#include "cuda/product_choice.h"
#include "ops/binary_conv2d.h"
#include "ops/reference.h"

// Products on the GPU: every operand and tile against loops over single elements.

namespace hardbit {
namespace {

using cuda::BinaryLayer;
using cuda::BinaryThresholds;
using cuda::BinaryWeights;
using cuda::ProductOperand;
using cuda::ProductTile;
using ops::PaddingValue;
using test::ConvCase;

constexpr ProductOperand operands[] = {ProductOperand::bits, ProductOperand::bytes};
constexpr ProductTile tiles[] = {ProductTile::p128c128, ProductTile::p128c64, ProductTile::p64c64,
                                 ProductTile::p32c32};
constexpr PaddingValue paddings[] = {PaddingValue::zero, PaddingValue::one};

class CudaProduct : public testing::Test {
 protected:
  void SetUp() override {
    if (test::device() != Device::cuda) GTEST_SKIP() << "runs on the cuda device (HARDBIT_TEST_DEVICE)";
  }
};
using CudaBinaryLayer = CudaProduct;
using CudaOperand = CudaProduct;

const char* name(ProductOperand operand) { return operand == ProductOperand::bits ? "bits" : "bytes"; }

/// A layer with its operands: signs where bits is 0.
struct Drawn {
  ConvCase c;
  int bits;
  PaddingValue padding;
  ops::Conv2d v = c.sizes();
  Tensor x, w;

  Drawn(const ConvCase& conv_case, int bits_, PaddingValue padding_, std::uint32_t seed)
      : c(conv_case), bits(bits_), padding(padding_) {
    const Shape shape{v.n, v.h, v.w, v.c};
    x = (bits == 0 ? test::random_bits(shape, seed) : test::random_codes(shape, bits, seed)).to(Device::cpu);
    w = test::random_bits({v.m, v.k()}, seed + 1).to(Device::cpu);
  }
  BinaryLayer layer() const {
    return {.conv = v, .padding = padding, .codes = bits != 0, .bits = bits == 0 ? 1 : bits};
  }
  Tensor expected() const {
    return bits == 0 ? ops::reference::binary_conv2d(x, w, c.kernel, c.geometry, padding)
                     : ops::reference::codes_conv2d(x, bits, w, c.kernel, c.geometry, padding);
  }
  std::string text() const {
    return c.text() + " bits " + std::to_string(bits) + (padding == PaddingValue::one ? ", ones" : ", zeros");
  }
};

/// The given tiles, and bands of images where the layer fits.
std::vector<ProductTile> ways(const BinaryWeights& weights, std::span<const ProductTile> tiles) {
  std::vector<ProductTile> all(tiles.begin(), tiles.end());
  if (weights.bands() != nullptr) all.push_back(ProductTile::band);
  return all;
}

/// On both operands and the given tiles; the place of the result is poisoned by the allocator.
void check(const Drawn& drawn, std::span<const ProductTile> all_tiles) {
  const Tensor expected = drawn.expected();
  const Tensor x = drawn.x.to(Device::cuda);
  const Tensor w = drawn.w.to(Device::cuda);
  for (const ProductOperand operand : operands) {
    const BinaryWeights weights(drawn.layer(), w.data<std::uint64_t>(), operand);
    for (const ProductTile tile : ways(weights, all_tiles)) {
      SCOPED_TRACE(drawn.text() + ", " + name(operand) + ", tile " + std::to_string(static_cast<int>(tile)));
      const Tensor y = Tensor::empty(expected.dtype(), expected.shape(), Device::cuda);
      cuda::fill(y.raw(), 0xA5, y.byte_length());
      if (y.dtype() == DType::i16) {
        cuda::binary_sums(weights, drawn.v.n, x.raw(), y.data<std::int16_t>(), tile);
      } else {
        cuda::binary_sums(weights, drawn.v.n, x.raw(), y.data<std::int32_t>(), tile);
      }
      test::expect_same(y.to(Device::cpu), expected, "sums");
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST_F(CudaProduct, IsExactOnRandomGeometriesOnEveryOperand) {
  std::mt19937 random(5);
  constexpr std::int64_t channels[] = {1, 3, 20, 63, 64, 65, 128, 200, 16, 8, 320};
  for (std::uint32_t i = 0; i < 99; ++i) {
    const ProductTile tile = tiles[random() % 4];
    check({test::random_conv(random, channels[i % 11]), static_cast<int>(i / 11 % 9 * (i % 2)),
           paddings[random() % 2], 2 * i},
          {&tile, 1});
    if (HasFailure()) return;
  }
}

TEST_F(CudaProduct, IsExactOnOddGeometries) {
  for (const PaddingValue padding : paddings) {
    for (const ConvCase& c : test::odd_convs) {
      if (c.n == 0 || c.m == 0 || c.c == 0) continue;
      for (const int bits : {0, 3}) check({c, bits, padding, 1}, std::span(tiles).last(1));
      if (HasFailure()) return;
    }
  }
}

// More than one tile of pixels and of channels, and one pixel and one channel more than a tile.
TEST_F(CudaProduct, IsExactBeyondEveryTile) {
  const ops::Conv2dGeometry same{.padding = {1, 1, 1, 1}};
  check({{1, 3, 43, 64, 129, {1, 1}, {}}, 0, PaddingValue::zero, 1}, tiles);
  check({{2, 8, 9, 128, 72, {3, 3}, same}, 0, PaddingValue::zero, 2}, tiles);
  check({{2, 8, 9, 192, 66, {3, 3}, {.padding = {1, 1, 1, 1}, .groups = 3}}, 0, PaddingValue::one, 3}, tiles);
  check({{1, 12, 11, 3, 65, {3, 3}, same}, 8, PaddingValue::zero, 4}, tiles);
  check({{1, 12, 11, 32, 33, {3, 3}, same}, 4, PaddingValue::one, 5}, tiles);
  check({{130, 1, 1, 785, 10, {1, 1}, {}}, 2, PaddingValue::zero, 6}, tiles);
}

TEST_F(CudaProduct, HoldsSumsOf32Bits) {
  check({{3, 1, 1, 32768, 7, {1, 1}, {}}, 0, PaddingValue::zero, 1}, std::span(tiles).last(1));
  check({{3, 1, 1, 130, 7, {1, 1}, {}}, 8, PaddingValue::zero, 1}, tiles);
}

TEST_F(CudaProduct, ReportsCodesThatDoNotFit) {
  for (const ProductOperand operand : operands) {
    for (const std::int64_t channels : {3, 32}) {
      Drawn drawn({2, 4, 4, channels, 5, {1, 1}, {.stride = {2, 2}}}, 2, PaddingValue::zero, 1);
      drawn.x.data<std::uint8_t>()[drawn.x.count() - 1] = 4;
      const BinaryWeights weights(drawn.layer(), drawn.w.to(Device::cuda).data<std::uint64_t>(), operand);
      const Tensor x = drawn.x.to(Device::cuda);
      const Tensor y = Tensor::empty(DType::i16, {2, 2, 2, 5}, Device::cuda);
      cuda::binary_sums(weights, 2, x.raw(), y.data<std::int16_t>());
      test::expect_error("ERR_HARDBIT_ARGUMENT", [] { cuda::synchronize(); });
      EXPECT_NO_THROW(cuda::synchronize());
    }
  }
}

/// The bits of a layer from its sums: thresholds, then the OR or the AND of every pooling window.
Tensor reference_bits(const Tensor& n, const std::vector<std::int32_t>& minimum,
                      const ops::Pool2dGeometry& pool, const ops::Pair& pooled, const Tensor& all) {
  const std::int64_t m = n.dim(3);
  const Tensor bits = Tensor::zeros(DType::bits, {n.dim(0), pooled[0], pooled[1], m});
  const auto reached = [&](std::int64_t element) {
    const std::int32_t value =
        n.dtype() == DType::i16 ? n.data<std::int16_t>()[element] : n.data<std::int32_t>()[element];
    return value >= minimum[static_cast<std::size_t>(element % m)];
  };
  for (std::int64_t pixel = 0; pixel < bits.rows(); ++pixel) {
    const std::int64_t image = pixel / (pooled[0] * pooled[1]);
    const std::int64_t top = pixel / pooled[1] % pooled[0] * pool.stride[0] - pool.padding[0];
    const std::int64_t left = pixel % pooled[1] * pool.stride[1] - pool.padding[2];
    for (std::int64_t c = 0; c < m; ++c) {
      bool any = false;
      bool every = true;
      for (std::int64_t y = std::max<std::int64_t>(top, 0); y < std::min(top + pool.kernel[0], n.dim(1));
           ++y) {
        for (std::int64_t x = std::max<std::int64_t>(left, 0); x < std::min(left + pool.kernel[1], n.dim(2));
             ++x) {
          const bool bit = reached(((image * n.dim(1) + y) * n.dim(2) + x) * m + c);
          any |= bit;
          every &= bit;
        }
      }
      if (ops::reference::bit(all, 0, c) ? every : any) {
        bits.data<std::uint64_t>()[pixel * bits.row_words() + c / 64] |= std::uint64_t{1} << (c % 64);
      }
    }
  }
  return bits;
}

void check_layer(const Drawn& drawn, const ops::Pool2dGeometry& pool,
                 std::span<const ProductTile> all_tiles) {
  const Tensor n = drawn.expected();
  std::mt19937 random(static_cast<std::uint32_t>(drawn.v.m));
  std::vector<std::int32_t> minimum(static_cast<std::size_t>(drawn.v.m));
  for (std::int32_t& least : minimum) {
    least = static_cast<std::int32_t>(random() % 13) - 6;
    if (random() % 8 == 0) least = std::numeric_limits<std::int32_t>::min();
    if (random() % 8 == 0) least = std::numeric_limits<std::int32_t>::max();
  }
  const auto extent = [&](std::size_t side) {
    return (n.dim(1 + side) + pool.padding[2 * side] + pool.padding[2 * side + 1] - pool.kernel[side]) /
               pool.stride[side] +
           1;
  };
  const ops::Pair pooled{extent(0), extent(1)};
  const Tensor all = test::random_bits({1, drawn.v.m}, 9).to(Device::cpu);
  const Tensor expected = reference_bits(n, minimum, pool, pooled, all);

  const Tensor x = drawn.x.to(Device::cuda);
  const Tensor w = drawn.w.to(Device::cuda);
  const Tensor least = Tensor::from_host(DType::i32, {drawn.v.m}, minimum.data(), Device::cuda);
  const Tensor every = all.to(Device::cuda);
  for (const ProductOperand operand : operands) {
    const BinaryWeights weights(drawn.layer(), w.data<std::uint64_t>(), operand);
    const BinaryThresholds thresholds{.minimum = least.data<std::int32_t>(),
                                      .pool = pool,
                                      .pooled = pooled,
                                      .all = every.data<std::uint64_t>()};
    std::vector<ProductTile> layer_ways = ways(weights, all_tiles);
    if (weights.stationary() != nullptr && weights.stationary()->fuses(thresholds)) {
      layer_ways.push_back(ProductTile::weight_stationary);
    }
    for (const ProductTile tile : layer_ways) {
      SCOPED_TRACE(drawn.text() + ", " + name(operand) + ", tile " + std::to_string(static_cast<int>(tile)));
      const Tensor y = Tensor::empty(DType::bits, expected.shape(), Device::cuda);
      cuda::fill(y.raw(), 0xA5, y.byte_length());
      cuda::binary_layer(weights, drawn.v.n, x.raw(), thresholds, y.data<std::uint64_t>(), tile);
      test::expect_same(y.to(Device::cpu), expected, "bits");
      if (testing::Test::HasFailure()) return;
    }
  }
}

constexpr ops::Pool2dGeometry no_pool{};
constexpr ops::Pool2dGeometry pool2{.kernel = {2, 2}, .stride = {2, 2}};

TEST_F(CudaBinaryLayer, GivesBits) {
  const ops::Conv2dGeometry same{.padding = {1, 1, 1, 1}};
  check_layer({{2, 9, 8, 64, 10, {3, 3}, same}, 0, PaddingValue::zero, 1}, no_pool, tiles);
  check_layer({{1, 11, 12, 128, 129, {3, 3}, same}, 0, PaddingValue::zero, 2}, no_pool, tiles);
  check_layer({{2, 7, 6, 128, 128, {3, 3}, {.groups = 2}}, 0, PaddingValue::one, 3}, no_pool, tiles);
  check_layer({{2, 7, 6, 12, 12, {3, 3}, {.groups = 3}}, 0, PaddingValue::zero, 4}, no_pool, tiles);
  check_layer({{1, 8, 8, 3, 64, {3, 3}, same}, 8, PaddingValue::zero, 5}, no_pool, tiles);
}

TEST_F(CudaBinaryLayer, PoolsBits) {
  const ops::Conv2dGeometry same{.padding = {1, 1, 1, 1}};
  check_layer({{2, 9, 8, 64, 10, {3, 3}, same}, 0, PaddingValue::zero, 1}, pool2, tiles);
  check_layer({{1, 13, 12, 128, 129, {3, 3}, same}, 0, PaddingValue::one, 2}, pool2, tiles);
  check_layer({{2, 8, 6, 128, 128, {3, 3}, {.groups = 2}}, 0, PaddingValue::zero, 3}, pool2, tiles);
  check_layer({{3, 8, 8, 3, 70, {3, 3}, same}, 4, PaddingValue::zero, 5}, pool2, tiles);
  check_layer({{2, 1, 1, 64, 10, {1, 1}, {}}, 0, PaddingValue::zero, 6}, no_pool, tiles);
  // Through memory.
  check_layer({{2, 9, 8, 20, 70, {3, 3}, same}, 0, PaddingValue::zero, 7},
              {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1, 1, 1}}, std::span(tiles).last(1));
  check_layer({{2, 9, 8, 20, 6, {3, 3}, {.groups = 2}}, 2, PaddingValue::one, 8}, pool2,
              std::span(tiles).last(1));
}

TEST_F(CudaBinaryLayer, PoolsNothingOfImagesBelowTheWindow) {
  const Drawn drawn({2, 1, 5, 64, 10, {1, 1}, {}}, 0, PaddingValue::zero, 1);
  const BinaryWeights weights(drawn.layer(), drawn.w.to(Device::cuda).data<std::uint64_t>());
  cuda::binary_layer(weights, 2, drawn.x.to(Device::cuda).raw(),
                     {.minimum = nullptr, .pool = pool2, .pooled = {0, 2}}, nullptr);
  EXPECT_NO_THROW(cuda::synchronize());
}

/// The largest sums of 2 × 2 pixels, and which of them held them first.
void check_maxima(const Drawn& drawn, const BinaryWeights& weights) {
  const Tensor n = drawn.expected();
  const auto value = [&](std::int64_t i) {
    return n.dtype() == DType::i16 ? n.data<std::int16_t>()[i] : n.data<std::int32_t>()[i];
  };
  const std::int64_t ph = n.dim(1) / 2;
  const std::int64_t pw = n.dim(2) / 2;
  const std::int64_t m = n.dim(3);
  const Tensor y = Tensor::empty(DType::i32, {n.dim(0), ph, pw, m}, Device::cuda);
  const Tensor index = Tensor::empty(DType::u8, {n.dim(0), ph, pw, m}, Device::cuda);
  weights.bands()->maxima(n.dim(0), drawn.x.to(Device::cuda).raw(), y.data<std::int32_t>(),
                          index.data<std::uint8_t>());
  const Tensor largest = y.to(Device::cpu);
  const Tensor places = index.to(Device::cpu);
  for (std::int64_t i = 0; i < largest.count(); ++i) {
    const std::int64_t row = i / m / pw;
    const std::int64_t first = ((row / ph * n.dim(1) + row % ph * 2) * n.dim(2) + i / m % pw * 2) * m + i % m;
    std::int32_t most = value(first);
    int place = 0;
    for (int k = 1; k < 4; ++k) {
      const std::int32_t other = value(first + (k / 2 * n.dim(2) + k % 2) * m);
      if (other > most) {
        most = other;
        place = k;
      }
    }
    ASSERT_EQ(largest.data<std::int32_t>()[i], most) << drawn.text() << " at " << i;
    ASSERT_EQ(places.data<std::uint8_t>()[i], place) << drawn.text() << " at " << i;
  }
}

/// As sums, their largest, bits and pooled bits.
void check_bands(const Drawn& drawn) {
  const Tensor w = drawn.w.to(Device::cuda);
  const BinaryWeights weights(drawn.layer(), w.data<std::uint64_t>(), ProductOperand::bits);
  ASSERT_NE(weights.bands(), nullptr) << drawn.text();
  check(drawn, {});
  check_layer(drawn, no_pool, {});
  check_layer(drawn, pool2, {});
  check_maxima(drawn, weights);
}

TEST_F(CudaBinaryLayer, GoesThroughBandsOfImages) {
  const ops::Conv2dGeometry same{.padding = {1, 1, 1, 1}};
  const Drawn layers[] = {
      // One word a pixel, two to a piece; more images than blocks.
      {{11, 9, 11, 64, 40, {3, 3}, same}, 0, PaddingValue::zero, 1},
      {{2, 17, 8, 64, 64, {1, 1}, {}}, 0, PaddingValue::zero, 2},
      {{2, 10, 9, 64, 70, {2, 4}, {.padding = {0, 1, 2, 1}}}, 0, PaddingValue::one, 3},
      {{3, 16, 16, 128, 128, {3, 3}, same}, 0, PaddingValue::zero, 4},
      {{1, 25, 17, 128, 129, {3, 3}, same}, 0, PaddingValue::one, 5},
      // An odd number of words, two slices of channels.
      {{2, 10, 9, 192, 130, {3, 3}, same}, 0, PaddingValue::zero, 6},
      {{9, 7, 7, 256, 64, {3, 3}, same}, 0, PaddingValue::zero, 7},
      {{2, 12, 12, 128, 72, {5, 5}, {.dilation = {2, 1}}}, 0, PaddingValue::zero, 8},
      {{2, 12, 12, 128, 8, {3, 3}, {.dilation = {3, 2}, .padding = {3, 3, 2, 2}}}, 0, PaddingValue::one, 9},
      // Codes, of which a window's fit into a step.
      {{6, 12, 11, 3, 65, {3, 3}, same}, 2, PaddingValue::zero, 10},
      {{3, 12, 12, 1, 20, {5, 5}, {}}, 2, PaddingValue::zero, 11},
      {{3, 13, 12, 1, 20, {5, 5}, {.padding = {2, 2, 2, 2}}}, 1, PaddingValue::one, 12},
      {{2, 9, 9, 4, 128, {2, 2}, {.stride = {2, 3}}}, 3, PaddingValue::zero, 13},
      {{2, 20, 20, 2, 64, {3, 3}, {.stride = {2, 2}, .dilation = {1, 2}, .padding = {1, 0, 2, 1}}},
       3,
       PaddingValue::one,
       14},
  };
  for (const Drawn& drawn : layers) {
    check_bands(drawn);
    if (HasFailure()) return;
  }
}

TEST_F(CudaBinaryLayer, KeepsWeightsInRegisters) {
  if (!cuda::driver::device().wgmma) GTEST_SKIP() << "this device has no wgmma";
  const ops::Conv2dGeometry same{.padding = {1, 1, 1, 1}};
  const Drawn layers[] = {
      // Tiles of 16 rows, 14, 8 and 7; images that end within a tile's columns, and within a slice's
      // channels.
      {{2, 32, 19, 64, 70, {3, 3}, same}, 0, PaddingValue::zero, 1},
      {{3, 16, 16, 128, 128, {3, 3}, same}, 0, PaddingValue::one, 2},
      {{1, 32, 9, 256, 64, {3, 3}, same}, 0, PaddingValue::zero, 3},
      {{1, 28, 28, 64, 64, {3, 3}, same}, 0, PaddingValue::one, 4},
      {{2, 14, 15, 128, 40, {3, 3}, same}, 0, PaddingValue::zero, 5},
      {{3, 14, 14, 256, 65, {3, 3}, same}, 0, PaddingValue::zero, 6},
      {{9, 8, 8, 64, 64, {3, 3}, same}, 0, PaddingValue::zero, 7},
      {{2, 24, 10, 128, 64, {3, 3}, same}, 0, PaddingValue::zero, 8},
      {{5, 8, 8, 256, 130, {3, 3}, same}, 0, PaddingValue::zero, 9},
      {{3, 8, 8, 512, 64, {3, 3}, same}, 0, PaddingValue::one, 10},
      {{5, 7, 7, 256, 64, {3, 3}, same}, 0, PaddingValue::zero, 11},
      {{3, 7, 7, 512, 72, {3, 3}, same}, 0, PaddingValue::zero, 12},
      // Borders on one side, and none; an odd number of words.
      {{2, 8, 9, 128, 64, {3, 3}, {.padding = {1, 1, 0, 2}}}, 0, PaddingValue::zero, 13},
      {{2, 10, 10, 128, 64, {3, 3}, {}}, 0, PaddingValue::zero, 14},
      {{2, 17, 9, 128, 64, {3, 3}, {.padding = {0, 1, 1, 0}}}, 0, PaddingValue::one, 15},
      // Windows that are not 3 × 3 side by side, with as many steps.
      {{2, 16, 11, 128, 64, {3, 3}, {.dilation = {1, 3}, .padding = {1, 1, 3, 3}}},
       0,
       PaddingValue::zero,
       16},
      {{2, 20, 11, 128, 64, {3, 3}, {.dilation = {2, 1}, .padding = {0, 0, 1, 1}}}, 0, PaddingValue::one, 19},
      {{2, 14, 13, 64, 24, {2, 5}, {.padding = {1, 0, 2, 2}}}, 0, PaddingValue::one, 17},
      {{3, 8, 9, 320, 64, {1, 2}, {.padding = {0, 0, 1, 0}}}, 0, PaddingValue::zero, 18},
  };
  for (const Drawn& drawn : layers) {
    const BinaryWeights weights(drawn.layer(), drawn.w.to(Device::cuda).data<std::uint64_t>(),
                                ProductOperand::bits);
    ASSERT_NE(weights.stationary(), nullptr) << drawn.text();
    check_layer(drawn, no_pool, {});
    check_layer(drawn, pool2, {});
    if (HasFailure()) return;
  }
}

// So many that every block takes more bands than it has room for, on any GPU: against the other kernel, which
// the reference has checked on fewer.
TEST_F(CudaBinaryLayer, TakesMoreBandsThanThereIsRoomFor) {
  if (!cuda::driver::device().wgmma) GTEST_SKIP() << "this device has no wgmma";
  const std::int64_t images = 40 * cuda::driver::device().multiprocessors + 1;
  const ops::Conv2d conv = ConvCase{images, 8, 8, 64, 64, {3, 3}, {.padding = {1, 1, 1, 1}}}.sizes();
  const Tensor w = test::random_bits({64, conv.k()}, 2).to(Device::cuda);
  const BinaryWeights weights({.conv = conv, .padding = PaddingValue::zero, .codes = false, .bits = 1},
                              w.data<std::uint64_t>(), ProductOperand::bits);
  ASSERT_NE(weights.stationary(), nullptr);
  const Tensor x = test::random_bits({images, 8, 8, 64}, 1).to(Device::cuda);
  const Tensor minimum = Tensor::zeros(DType::i32, {64}, Device::cuda);
  const auto bits = [&](ProductTile tile) {
    const Tensor y = Tensor::empty(DType::bits, {images, 8, 8, 64}, Device::cuda);
    cuda::binary_layer(weights, images, x.raw(), {.minimum = minimum.data<std::int32_t>()},
                       y.data<std::uint64_t>(), tile);
    return y.to(Device::cpu);
  };
  test::expect_same(bits(ProductTile::weight_stationary), bits(ProductTile::band), "bits");
}

TEST_F(CudaBinaryLayer, RefusesBandsWhereTheyDoNotFit) {
  const Drawn drawn({2, 5, 5, 64, 9, {3, 3}, {.stride = {2, 2}}}, 0, PaddingValue::zero, 1);
  const BinaryWeights weights(drawn.layer(), drawn.w.to(Device::cuda).data<std::uint64_t>(),
                              ProductOperand::bits);
  ASSERT_EQ(weights.bands(), nullptr);
  const Tensor x = drawn.x.to(Device::cuda);
  const Tensor y = Tensor::empty(DType::i16, {2, 2, 2, 9}, Device::cuda);
  test::expect_error("ERR_HARDBIT_UNSUPPORTED", [&] {
    cuda::binary_sums(weights, 2, x.raw(), y.data<std::int16_t>(), ProductTile::band);
  });
}

TEST_F(CudaBinaryLayer, TakesNoMoreImagesAtOnceThanItCounts) {
  const Drawn drawn({1, 8, 8, 64, 64, {1, 1}, {}}, 0, PaddingValue::zero, 1);
  const BinaryWeights weights(drawn.layer(), drawn.w.to(Device::cuda).data<std::uint64_t>(),
                              ProductOperand::bits);
  ASSERT_NE(weights.bands(), nullptr);
  EXPECT_TRUE(weights.bands()->pays(std::int64_t{1} << 30));
  EXPECT_FALSE(weights.bands()->pays((std::int64_t{1} << 30) + 1));
  EXPECT_FALSE(weights.bands()->pays(1));
}

TEST_F(CudaBinaryLayer, ReportsCodesThatDoNotFitInBands) {
  Drawn drawn({2, 4, 4, 3, 5, {2, 2}, {}}, 2, PaddingValue::zero, 1);
  drawn.x.data<std::uint8_t>()[drawn.x.count() - 1] = 4;
  const BinaryWeights weights(drawn.layer(), drawn.w.to(Device::cuda).data<std::uint64_t>(),
                              ProductOperand::bits);
  ASSERT_NE(weights.bands(), nullptr);
  const Tensor x = drawn.x.to(Device::cuda);
  const Tensor y = Tensor::empty(DType::i16, {2, 3, 3, 5}, Device::cuda);
  cuda::binary_sums(weights, 2, x.raw(), y.data<std::int16_t>(), ProductTile::band);
  test::expect_error("ERR_HARDBIT_ARGUMENT", [] { cuda::synchronize(); });
}

/// Sets a variable of the environment for a scope.
class Setting {
 public:
  explicit Setting(const char* value) { setenv("HARDBIT_CUDA_OPERAND", value, 1); }
  ~Setting() { unsetenv("HARDBIT_CUDA_OPERAND"); }
};

TEST_F(CudaOperand, IsChosenByDeviceAndSteps) {
  using cuda::choose_operand;
  EXPECT_EQ(choose_operand(8, 6, {9, 72}), ProductOperand::bits);
  EXPECT_EQ(choose_operand(9, 0, {1, 1}), ProductOperand::bits);
  EXPECT_EQ(choose_operand(9, 0, {8, 1}), ProductOperand::bytes);
  EXPECT_EQ(choose_operand(10, 0, {1, 8}), ProductOperand::bytes);
  EXPECT_EQ(choose_operand(12, 0, {1, 8}), ProductOperand::bytes);
}

TEST_F(CudaOperand, IsOverruledByTheEnvironment) {
  const Drawn drawn({2, 5, 5, 64, 9, {3, 3}, {.padding = {1, 1, 1, 1}}}, 0, PaddingValue::zero, 1);
  const auto run = [&] {
    return ops::binary_conv2d(drawn.x.to(Device::cuda), drawn.w.to(Device::cuda), drawn.c.kernel,
                              drawn.c.geometry, drawn.padding)
        .to(Device::cpu);
  };
  for (const char* const value : {"b1", "s8"}) {
    const Setting setting(value);
    EXPECT_EQ(cuda::choose_operand(drawn.layer()),
              value[0] == 'b' ? ProductOperand::bits : ProductOperand::bytes);
    test::expect_same(run(), drawn.expected(), value);
  }
  const Setting setting("b2");
  test::expect_error("ERR_HARDBIT_ARGUMENT", run, "b2");
}

TEST_F(CudaOperand, TilesAreAsLargeAsTheWorkFills) {
  using cuda::choose_tile;
  EXPECT_EQ(choose_tile(1 << 20, 1, 512, 132), ProductTile::p128c128);
  EXPECT_EQ(choose_tile(1 << 20, 1, 64, 132), ProductTile::p128c64);
  EXPECT_EQ(choose_tile(64 * 100, 1, 128, 132), ProductTile::p64c64);
  EXPECT_EQ(choose_tile(64, 1, 512, 132), ProductTile::p32c32);
  EXPECT_EQ(choose_tile(1 << 20, 1, 10, 132), ProductTile::p32c32);
}

}  // namespace
}  // namespace hardbit
