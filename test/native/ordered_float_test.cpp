#include <vector>

#include "conv_cases.h"
#include "cpu/kernels/product.h"
#include "ops/conv2d.h"
#include "ops/dense.h"
#include "support.h"

// Float products of one summation order, bit by bit against loops.

namespace hardbit {
namespace {

using test::bytes;
using test::ConvCase;
using test::expect_error;
using test::expect_same_on_all_thread_counts;
using test::random_tensor;

Tensor reference(const ops::Conv2d& v, const Tensor& images, const Tensor& weights, const Tensor* biases) {
  const Tensor x = images.to(Device::cpu);
  const Tensor w = weights.to(Device::cpu);
  const auto bias =
      biases != nullptr ? test::values<float>(*biases) : std::vector<float>(static_cast<std::size_t>(v.m));
  Tensor y = Tensor::empty(DType::f32, {v.n, v.oh, v.ow, v.m});
  const auto& g = v.geometry;
  const std::int64_t in = v.group_channels();
  float* out = y.data<float>();
  for (std::int64_t n = 0; n < v.n; ++n) {
    for (std::int64_t i = 0; i < v.oh; ++i) {
      for (std::int64_t j = 0; j < v.ow; ++j) {
        for (std::int64_t m = 0; m < v.m; ++m) {
          float sum = 0;
          for (std::int64_t a = 0; a < v.kh; ++a) {
            for (std::int64_t b = 0; b < v.kw; ++b) {
              const std::int64_t row = i * g.stride[0] + a * g.dilation[0] - g.padding[0];
              const std::int64_t column = j * g.stride[1] + b * g.dilation[1] - g.padding[2];
              if (row < 0 || row >= v.h || column < 0 || column >= v.w) continue;
              for (std::int64_t c = 0; c < in; ++c) {
                const float product =
                    x.data<float>()[((n * v.h + row) * v.w + column) * v.c + m / (v.m / g.groups) * in + c] *
                    w.data<float>()[((m * v.kh + a) * v.kw + b) * in + c];
                sum += product;
              }
            }
          }
          *out++ = sum + bias[static_cast<std::size_t>(m)];
        }
      }
    }
  }
  return y;
}

void check(const ConvCase& sizes, std::uint32_t seed) {
  SCOPED_TRACE(sizes.text());
  const ops::Conv2d conv = sizes.sizes();
  const Tensor x = random_tensor({conv.n, conv.h, conv.w, conv.c}, seed);
  const Tensor w = random_tensor({conv.m, conv.kh, conv.kw, conv.group_channels()}, seed + 1);
  const Tensor bias = random_tensor({conv.m}, seed + 2);
  for (const Tensor* const b : {static_cast<const Tensor*>(nullptr), &bias}) {
    test::poison_cache();
    const Tensor y = ops::ordered_conv2d_forward(x, w, b, sizes.geometry);
    const Tensor expected = reference(conv, x, w, b);
    ASSERT_EQ(y.shape(), expected.shape());
    ASSERT_EQ(bytes(y), bytes(expected));
  }
}

TEST(OrderedFloat, ConvolutionIsTheLoopBitByBit) {
  std::mt19937 random(7);
  for (std::uint32_t i = 0; i < 120; ++i) check(test::random_conv(random, 1 + random() % 9), i);
  for (const ConvCase& sizes : test::odd_convs) check(sizes, 5);
}

TEST(OrderedFloat, ManyPixelsAndChannelsCrossBlocksAndTiles) {
  // More pixels than a block of patches has, more channels than a tile, a window that is the whole image.
  check({3, 31, 29, 5, 71, {3, 3}, {.padding = {1, 1, 1, 1}}}, 1);
  check({37, 4, 5, 6, 133, {4, 5}, {}}, 2);
  check({2, 9, 9, 300, 17, {3, 3}, {}}, 3);
}

TEST(OrderedFloat, ProductIsTheLoopBitByBit) {
  for (const auto& [n, k, m] : std::vector<std::array<std::int64_t, 3>>{
           {0, 3, 2}, {1, 0, 3}, {1, 1, 1}, {2, 3, 0}, {3, 17, 9}, {130, 65, 129}, {5, 1000, 10}}) {
    SCOPED_TRACE(to_string({n, k, m}));
    const Tensor x = random_tensor({n, k}, 1);
    const Tensor w = random_tensor({m, k}, 2);
    const Tensor bias = random_tensor({m}, 3);
    const ops::Conv2d pixels{
        .geometry = {}, .n = n, .h = 1, .w = 1, .c = k, .m = m, .kh = 1, .kw = 1, .oh = 1, .ow = 1};
    for (const Tensor* const b : {static_cast<const Tensor*>(nullptr), &bias}) {
      const Tensor y = ops::ordered_dense_forward(x, w, b);
      EXPECT_EQ(y.shape(), (Shape{n, m}));
      EXPECT_EQ(bytes(y), bytes(reference(pixels, x, w, b)));
    }
  }
}

TEST(OrderedFloat, ThreadsDoNotMatter) {
  const Tensor x = random_tensor({9, 17, 17, 6}, 1);
  const Tensor w = random_tensor({40, 3, 3, 3}, 2);
  const Tensor bias = random_tensor({40}, 3);
  expect_same_on_all_thread_counts([&] {
    return ops::ordered_conv2d_forward(x, w, &bias, {.padding = {1, 1, 1, 1}, .groups = 2});
  });
  const Tensor rows = random_tensor({999, 300}, 4);
  const Tensor weights = random_tensor({70, 300}, 5);
  expect_same_on_all_thread_counts([&] { return ops::ordered_dense_forward(rows, weights, nullptr); });
}

TEST(OrderedFloat, EveryRowOfTheTableSumsAlike) {
  if (test::device() != Device::cpu) GTEST_SKIP() << "about the kernels of the cpu";
  // The operators take the selected row; whatever it is, all rows give the same bits.
  constexpr std::int64_t k = 77;
  constexpr std::int64_t channels = 100;
  const auto x = test::random_floats(k, 1);
  const auto w = test::random_floats(channels * k, 2);
  std::vector<float> expected;
  for (std::int64_t c = 0; c < channels; ++c) {
    float sum = 0;
    for (std::int64_t i = 0; i < k; ++i) {
      const float product = x[static_cast<std::size_t>(i)] * w[static_cast<std::size_t>(c * k + i)];
      sum += product;
    }
    expected.push_back(sum + 0.5F);
  }
  for (const cpu::FloatKernel& kernel : cpu::float_kernels()) {
    const auto isas = available_isas();
    if (std::find(isas.begin(), isas.end(), kernel.isa) == isas.end()) continue;
    SCOPED_TRACE(kernel.name);
    const Tensor packed =
        Tensor::empty(DType::f32, {static_cast<std::int64_t>(kernel.packed_bytes(channels, k) / 4)});
    kernel.pack(w.data(), channels, k, packed.data<float>());
    const std::vector<float> bias(static_cast<std::size_t>(channels + kernel.lanes), 0.5F);
    std::vector<float> y(static_cast<std::size_t>(channels));
    const auto* row = reinterpret_cast<const std::uint8_t*>(x.data());
    const std::ptrdiff_t offset = 0;
    for (std::int64_t c = 0; c < channels; c += kernel.nr) {
      float* out = y.data() + c;
      kernel.run({.windows = {.x = &row, .offsets = &offset, .segments = 1, .segment_words = k},
                  .w = packed.data<float>() + kernel.packed_bytes(c, k) / 4,
                  .rows = 1,
                  .columns = static_cast<int>(std::min<std::int64_t>(kernel.nr, channels - c)),
                  .bias = bias.data() + c,
                  .out = &out});
    }
    EXPECT_EQ(y, expected);
  }
}

TEST(OrderedFloat, NamesItselfInErrors) {
  const Tensor x = random_tensor({1, 2, 2, 3}, 1);
  const Tensor w = random_tensor({1, 1, 1, 2}, 2);
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::ordered_conv2d_forward(x, w, nullptr, {}); }, "orderedConv2dForward: ");
  expect_error(
      "ERR_HARDBIT_SHAPE",
      [&] {
        ops::ordered_dense_forward(random_tensor({1, 3}, 1), random_tensor({2, 4}, 1), nullptr);
      },
      "orderedDenseForward: ");
}

}  // namespace
}  // namespace hardbit
