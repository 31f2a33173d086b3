#include "ops/pool2d.h"

#include <array>
#include <cmath>
#include <limits>

#include "bit_cases.h"
#include "cpu/kernels/pool.h"
#include "cpu/pool2d.h"
#include "guarded.h"
#include "ops/reference.h"
#include "support.h"

namespace hardbit {
namespace {

using ops::Pool2dGeometry;
using test::bytes;
using test::expect_error;
using test::expect_same;
using test::expect_same_on_all_thread_counts;
using test::host;
using test::make;
using test::random_tensor;
using test::values;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

struct Case {
  Shape x;
  Pool2dGeometry geometry;
};

const std::vector<Case> cases = {
    {{2, 4, 6, 5}, {.kernel = {2, 2}, .stride = {2, 2}}},
    {{1, 5, 7, 1}, {.kernel = {2, 2}, .stride = {2, 2}}},
    {{3, 9, 8, 65}, {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1, 1, 1}}},
    {{2, 7, 5, 64}, {.kernel = {3, 2}, .stride = {1, 2}, .padding = {2, 0, 1, 0}}},
    {{2, 6, 6, 3}, {.kernel = {2, 3}, .stride = {3, 5}}},
    {{1, 1, 1, 7}, {.kernel = {3, 3}, .stride = {1, 1}, .padding = {2, 2, 2, 2}}},
    {{1, 16, 16, 4}, {.kernel = {16, 16}, .stride = {1, 1}}},
    {{2, 4, 4, 130}, {.kernel = {2, 2}, .stride = {1, 1}, .padding = {0, 1, 0, 1}}},
    {{5, 8, 8, 16}, {.kernel = {1, 1}, .stride = {1, 1}}},
    {{0, 4, 4, 3}, {.kernel = {2, 2}, .stride = {2, 2}}},
    {{2, 4, 4, 0}, {.kernel = {2, 2}, .stride = {2, 2}}},
    {{9, 28, 28, 24}, {.kernel = {2, 2}, .stride = {2, 2}}},
    {{2, 6, 9, 20}, {.kernel = {2, 3}, .stride = {2, 3}}},
    {{2, 5, 5, 33}, {.kernel = {2, 2}, .stride = {2, 2}, .padding = {1, 0, 1, 0}}},
    {{1, 3, 3, 9}, {.kernel = {2, 2}, .stride = {2, 2}, .padding = {0, 1, 0, 1}}},
};

Shape pooled(const Case& c) {
  const auto& [kernel, stride, padding] = c.geometry;
  return {c.x[0], (c.x[1] + padding[0] + padding[1] - kernel[0]) / stride[0] + 1,
          (c.x[2] + padding[2] + padding[3] - kernel[1]) / stride[1] + 1, c.x[3]};
}

/// Calls f(output element, place, input element or −1) for every place of every window.
template <class F>
void each_place(const Case& c, const F& f) {
  const auto& [kernel, stride, padding] = c.geometry;
  const Shape out = pooled(c);
  std::int64_t element = 0;
  for (std::int64_t n = 0; n < out[0]; ++n)
    for (std::int64_t oy = 0; oy < out[1]; ++oy)
      for (std::int64_t ox = 0; ox < out[2]; ++ox)
        for (std::int64_t channel = 0; channel < out[3]; ++channel, ++element)
          for (std::int64_t place = 0; place < kernel[0] * kernel[1]; ++place) {
            const std::int64_t y = oy * stride[0] - padding[0] + place / kernel[1];
            const std::int64_t x = ox * stride[1] - padding[2] + place % kernel[1];
            const bool inside = y >= 0 && y < c.x[1] && x >= 0 && x < c.x[2];
            f(element, place, inside ? ((n * c.x[1] + y) * c.x[2] + x) * c.x[3] + channel : -1);
          }
}

/// Small whole numbers, so that ties are common.
template <class T>
std::vector<T> whole_numbers(std::int64_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<T> x(static_cast<std::size_t>(count));
  for (T& v : x) v = static_cast<T>(static_cast<int>(random() % 7) - 3);
  return x;
}

template <class T>
struct Pooled {
  std::vector<T> y;
  std::vector<std::uint8_t> index;
};

template <class T>
Pooled<T> reference_max(const Case& c, const std::vector<T>& x) {
  const auto count = static_cast<std::size_t>(element_count(pooled(c)));
  Pooled<T> out{std::vector<T>(count), std::vector<std::uint8_t>(count)};
  std::vector<bool> seen(count, false);
  each_place(c, [&](std::int64_t o, std::int64_t place, std::int64_t i) {
    if (i < 0) return;
    const auto at = static_cast<std::size_t>(o);
    const T v = x[static_cast<std::size_t>(i)];
    const bool is_nan = v != v;
    const bool had_nan = out.y[at] != out.y[at];
    if (seen[at] && (had_nan || (!is_nan && v <= out.y[at]))) return;
    seen[at] = true;
    out.y[at] = v;
    out.index[at] = static_cast<std::uint8_t>(place);
  });
  for (const bool s : seen) EXPECT_TRUE(s);
  return out;
}

template <class T>
class MaxPool2dOf : public testing::Test {};
using Numbers = testing::Types<float, std::int16_t, std::int32_t>;
TYPED_TEST_SUITE(MaxPool2dOf, Numbers);

TYPED_TEST(MaxPool2dOf, IsTheFirstLargestOfEveryWindow) {
  for (const Case& c : cases) {
    const auto x = whole_numbers<TypeParam>(element_count(c.x), 1);
    const auto expected = reference_max(c, x);
    test::poison_cache();
    const auto [y, index] = ops::max_pool2d(make(c.x, x), c.geometry, true);
    expect_same(y, make(pooled(c), expected.y), to_string(c.x));
    expect_same(*index, make(pooled(c), expected.index), to_string(c.x));
    const auto without = ops::max_pool2d(make(c.x, x), c.geometry, false);
    expect_same(without.y, y, to_string(c.x));
    EXPECT_FALSE(without.index);
  }
}

TYPED_TEST(MaxPool2dOf, WritesNothingElse) {
  if (test::device() != Device::cpu) GTEST_SKIP() << "the cpu's own";
  for (const Case& c : cases) {
    const Shape out = pooled(c);
    const cpu::Pooling p{c.geometry, c.x[0], c.x[1], c.x[2], c.x[3], out[1], out[2]};
    const test::Guarded<TypeParam> x(whole_numbers<TypeParam>(element_count(c.x), 2));
    const test::Guarded<TypeParam> y(static_cast<std::size_t>(element_count(out)));
    const test::Guarded<std::uint8_t> index(y.size());
    cpu::max_pool2d(p, x.data(), y.data(), index.data());
    const auto expected = reference_max(c, x.values());
    EXPECT_EQ(y.values(), expected.y);
    EXPECT_EQ(index.values(), expected.index);
    EXPECT_TRUE(y.intact() && index.intact());
  }
}

/// The largest of `count` windows of a line, a place at a time.
template <class T>
Pooled<T> reference_windows(const cpu::PoolWindows& windows, const T* x) {
  const auto size = static_cast<std::size_t>(windows.count * windows.channels);
  Pooled<T> out{std::vector<T>(size), std::vector<std::uint8_t>(size)};
  for (std::size_t o = 0; o < size; ++o) {
    const auto at = static_cast<std::int64_t>(o);
    const T* const from = x + at / windows.channels * windows.step + at % windows.channels;
    for (std::int64_t i = 0; i < windows.places; ++i) {
      const T v = from[windows.element[i]];
      if (i > 0 && (out.y[o] != out.y[o] || v <= out.y[o])) continue;
      out.y[o] = v;
      out.index[o] = windows.place[i];
    }
  }
  return out;
}

template <class T>
void expect_windows(const char* row, void (*largest)(const cpu::PoolWindows&, const T*, T*, std::uint8_t*),
                    const cpu::PoolWindows& windows, const std::vector<T>& pixels) {
  const auto where = std::string(row) + ", " + std::to_string(windows.channels) + " channels, " +
                     std::to_string(windows.places) + " places";
  const test::Guarded<T> x(pixels);
  const auto expected = reference_windows(windows, x.data());
  const test::Guarded<T> y(expected.y.size());
  const test::Guarded<T> without(expected.y.size());
  const test::Guarded<std::uint8_t> index(y.size());
  largest(windows, x.data(), y.data(), index.data());
  largest(windows, x.data(), without.data(), nullptr);
  EXPECT_EQ(bytes(make<T>({static_cast<std::int64_t>(y.size())}, y.values())),
            bytes(make<T>({static_cast<std::int64_t>(y.size())}, expected.y)))
      << where;
  EXPECT_EQ(index.values(), expected.index) << where;
  EXPECT_EQ(0, std::memcmp(y.data(), without.data(), y.size() * sizeof(T))) << where;
  EXPECT_TRUE(x.intact() && y.intact() && without.intact() && index.intact()) << where;
}

/// Calls f(row, windows, elements they span) for every row this CPU can run and many windows side by side.
template <class F>
void each_windows(const F& f) {
  for (const cpu::PoolKernels& row : cpu::pool_kernels()) {
    if (!test::available(row.isa)) continue;
    for (const std::int64_t channels : {1, 3, 4, 7, 8, 9, 15, 16, 20, 31, 32, 33, 50, 64, 100, 128, 129}) {
      for (const std::int64_t width : {1, 2, 3}) {  // a window of 2 × width places, in lines of 3 × width
        std::vector<std::int64_t> element;
        std::vector<std::uint8_t> place;
        for (std::int64_t i = 0; i < 2 * width; ++i) {
          element.push_back((i / width * width * 3 + i % width) * channels);
          place.push_back(static_cast<std::uint8_t>(i * 5));
        }
        f(row, cpu::PoolWindows{3, width * channels, channels, 2 * width, element.data(), place.data()},
          6 * width * channels);
      }
    }
  }
}

TEST(PoolKernels, EveryRowFindsTheFirstLargest) {
  each_windows([](const cpu::PoolKernels& row, const cpu::PoolWindows& windows, std::int64_t elements) {
    expect_windows(row.name, row.max_i16, windows, whole_numbers<std::int16_t>(elements, 21));
    expect_windows(row.name, row.max_i32, windows, whole_numbers<std::int32_t>(elements, 22));
    auto x = whole_numbers<float>(elements, 23);
    expect_windows(row.name, row.max_f32, windows, x);
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (i % 5 == 0) x[i] = nan;
      if (i % 7 == 0) x[i] = -infinity;
      if (i % 11 == 0) x[i] = -0.0F;
    }
    expect_windows(row.name, row.max_f32, windows, x);
  });
}

TEST(PoolKernels, EveryRowSpreadsGradientsToWinners) {
  each_windows([](const cpu::PoolKernels& row, const cpu::PoolWindows& windows, std::int64_t elements) {
    const test::Guarded<float> dy(test::random_floats(windows.count * windows.channels, 24));
    const test::Guarded<std::uint8_t> index(dy.size());
    std::mt19937 random(25);
    for (std::size_t o = 0; o < dy.size(); ++o) {
      index.data()[o] = windows.place[random() % static_cast<std::uint32_t>(windows.places)];
    }
    std::vector<float> expected(static_cast<std::size_t>(elements));
    for (std::size_t o = 0; o < dy.size(); ++o) {
      const auto at = static_cast<std::int64_t>(o);
      for (std::int64_t i = 0; i < windows.places; ++i) {
        if (index.data()[o] != windows.place[i]) continue;
        expected[static_cast<std::size_t>(at / windows.channels * windows.step + at % windows.channels +
                                          windows.element[i])] = dy.data()[o];
      }
    }
    const test::Guarded<float> dx(std::vector<float>(expected.size(), nan));
    row.spread(windows, dy.data(), index.data(), dx.data());
    EXPECT_EQ(dx.values(), expected) << row.name << ", " << windows.channels << " channels";
    EXPECT_TRUE(dy.intact() && index.intact() && dx.intact()) << row.name;
  });
}

TEST(MaxPool2d, TheFirstNanWins) {
  const Pool2dGeometry square{.kernel = {2, 2}, .stride = {2, 2}};
  const Pool2dGeometry line{.kernel = {1, 3}, .stride = {1, 3}};
  for (int first = 0; first < 4; ++first) {
    std::vector<float> x = {-infinity, 7, infinity, -1};
    for (int i = first; i < 4; i += 2) x[static_cast<std::size_t>(i)] = nan;
    const auto [y, index] = ops::max_pool2d(make({1, 2, 2, 1}, x), square, true);
    EXPECT_TRUE(std::isnan(values<float>(y)[0])) << first;
    EXPECT_EQ(values<std::uint8_t>(*index)[0], first);
  }
  const Tensor x = make<float>({1, 1, 6, 1}, {1, nan, nan, -infinity, -infinity, -infinity});
  const auto [y, index] = ops::max_pool2d(x, line, true);
  EXPECT_TRUE(std::isnan(values<float>(y)[0]));
  EXPECT_EQ(values<float>(y)[1], -infinity);
  EXPECT_EQ(values<std::uint8_t>(*index), (std::vector<std::uint8_t>{1, 0}));
}

TEST(MaxPool2d, OfBitsEqualsThatOfTheirSigns) {
  for (const Case& c : cases) {
    const Tensor x = test::random_bits(c.x, 3);
    const Tensor floats = ops::reference::unpack_signs(host(x));
    const auto expected = ops::max_pool2d(floats, c.geometry, true);
    test::poison_cache();
    const auto [y, index] = ops::max_pool2d(x, c.geometry, true);
    expect_same(y, ops::reference::pack_signs(expected.y), to_string(c.x));
    expect_same(*index, *expected.index, to_string(c.x));
    expect_same(ops::max_pool2d(x, c.geometry, false).y, y, to_string(c.x));
  }
}

TEST(MaxPool2dBackward, AddsTheGradientToTheWinner) {
  for (const Case& c : cases) {
    const auto x = whole_numbers<float>(element_count(c.x), 4);
    const Tensor dy = random_tensor(pooled(c), 5);
    const Tensor index = *ops::max_pool2d(make(c.x, x), c.geometry, true).index;
    const auto places = values<std::uint8_t>(index);
    const auto gradients = values<float>(dy);
    std::vector<float> expected(x.size(), 0);  // in the order of the windows, as promised
    each_place(c, [&](std::int64_t o, std::int64_t place, std::int64_t i) {
      const auto at = static_cast<std::size_t>(o);
      if (places[at] == place) expected[static_cast<std::size_t>(i)] += gradients[at];
    });
    test::poison_cache();
    const Tensor dx = ops::max_pool2d_backward(dy, index, {c.x[1], c.x[2]}, c.geometry);
    EXPECT_EQ(dx.shape(), c.x);
    EXPECT_EQ(values<float>(dx), expected) << to_string(c.x);
  }
}

TEST(MaxPool2dBackward, WritesNothingElse) {
  if (test::device() != Device::cpu) GTEST_SKIP() << "the cpu's own";
  for (const Case& c : cases) {
    const Shape out = pooled(c);
    const cpu::Pooling p{c.geometry, c.x[0], c.x[1], c.x[2], c.x[3], out[1], out[2]};
    const test::Guarded<float> dy(test::random_floats(element_count(out), 6));
    const test::Guarded<std::uint8_t> index(dy.size());
    std::fill_n(index.data(), index.size(), std::uint8_t{0});
    const test::Guarded<float> dx(static_cast<std::size_t>(element_count(c.x)));
    cpu::max_pool2d_backward(p, dy.data(), index.data(), dx.data());
    cpu::avg_pool2d_backward(p, dy.data(), dx.data());
    EXPECT_TRUE(dx.intact());
  }
}

TEST(PoolSigns, IsOrOrAndOfEachChannel) {
  for (const Case& c : cases) {
    const Tensor operands[] = {test::random_bits(c.x, 7), test::random_bits({c.x[3]}, 8)};
    const Tensor x = host(operands[0]);
    const Tensor all = host(operands[1]);
    std::vector<bool> expected(static_cast<std::size_t>(element_count(pooled(c))));
    std::vector<bool> seen(expected.size());
    each_place(c, [&](std::int64_t o, std::int64_t, std::int64_t i) {
      if (i < 0) return;
      const auto at = static_cast<std::size_t>(o);
      const bool bit = ops::reference::bit(x, i / c.x[3], i % c.x[3]);
      const bool every = ops::reference::bit(all, 0, o % c.x[3]);
      expected[at] = !seen[at] ? bit : every ? expected[at] && bit : expected[at] || bit;
      seen[at] = true;
    });
    test::poison_cache();
    const Tensor y = ops::pool_signs(operands[0], c.geometry, operands[1]);
    ASSERT_EQ(y.shape(), pooled(c));
    std::vector<float> signs;
    for (const bool bit : expected) signs.push_back(bit ? 1.0F : -1.0F);
    expect_same(y, ops::reference::pack_signs(host(make(pooled(c), signs))), to_string(c.x));
  }
}

/// sign(x·scale ≥ threshold) of the pooled image is the pooled sign, AND where the scale is negative.
TEST(PoolSigns, IsMaxPoolingMovedBehindTheThreshold) {
  for (const Case& c : cases) {
    const Tensor x = make(c.x, whole_numbers<float>(element_count(c.x), 9));
    const auto scale = test::random_floats(c.x[3], 10);
    const auto signs_of = [&](const Tensor& t) {
      auto scaled = values<float>(t);
      for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] = scaled[i] * scale[i % scale.size()] - 0.1F;
      return ops::reference::pack_signs(host(make(t.shape(), scaled))).to(test::device());
    };
    std::vector<float> falling;
    for (const float s : scale) falling.push_back(-s);
    const Tensor all = ops::reference::pack_signs(host(make({c.x[3]}, falling))).to(test::device());
    expect_same(ops::pool_signs(signs_of(x), c.geometry, all),
                signs_of(ops::max_pool2d(x, c.geometry, false).y), to_string(c.x));
  }
}

TEST(AvgPool2d, IsTheMeanWithZerosForPadding) {
  for (const Case& c : cases) {
    const Tensor x = random_tensor(c.x, 11);
    const auto area = static_cast<double>(c.geometry.kernel[0] * c.geometry.kernel[1]);
    const auto pixels = values<float>(x);
    std::vector<double> expected(static_cast<std::size_t>(element_count(pooled(c))));
    each_place(c, [&](std::int64_t o, std::int64_t, std::int64_t i) {
      if (i < 0) return;
      expected[static_cast<std::size_t>(o)] +=
          static_cast<double>(pixels[static_cast<std::size_t>(i)]) / area;
    });
    test::poison_cache();
    const Tensor y = ops::avg_pool2d(x, c.geometry);
    ASSERT_EQ(y.shape(), pooled(c));
    const auto means = values<float>(y);
    for (std::size_t o = 0; o < expected.size(); ++o)
      ASSERT_NEAR(means[o], expected[o], 1e-6) << to_string(c.x);
  }
}

TEST(AvgPool2dBackward, SpreadsTheGradientEvenly) {
  for (const Case& c : cases) {
    const Tensor dy = random_tensor(pooled(c), 12);
    const auto area = static_cast<float>(c.geometry.kernel[0] * c.geometry.kernel[1]);
    const auto gradients = values<float>(dy);
    std::vector<float> expected(static_cast<std::size_t>(element_count(c.x)));
    each_place(c, [&](std::int64_t o, std::int64_t, std::int64_t i) {
      if (i >= 0) expected[static_cast<std::size_t>(i)] += gradients[static_cast<std::size_t>(o)] / area;
    });
    test::poison_cache();
    const Tensor dx = ops::avg_pool2d_backward(dy, {c.x[1], c.x[2]}, c.geometry);
    EXPECT_EQ(dx.shape(), c.x);
    EXPECT_EQ(values<float>(dx), expected) << to_string(c.x);
  }
}

TEST(Pool2d, ResultsDoNotDependOnTheThreadCount) {
  for (const Case& c : {cases[2], cases[7], cases[11]}) {
    const Tensor x = random_tensor(c.x, 13);
    const Tensor bits = test::random_bits(c.x, 14);
    const Tensor all = test::random_bits({c.x[3]}, 15);
    const Tensor dy = random_tensor(pooled(c), 16);
    const Tensor index = *ops::max_pool2d(x, c.geometry, true).index;
    expect_same_on_all_thread_counts([&] { return ops::max_pool2d(x, c.geometry, true).y; });
    expect_same_on_all_thread_counts([&] { return *ops::max_pool2d(x, c.geometry, true).index; });
    expect_same_on_all_thread_counts([&] { return ops::max_pool2d(bits, c.geometry, false).y; });
    expect_same_on_all_thread_counts([&] { return ops::pool_signs(bits, c.geometry, all); });
    expect_same_on_all_thread_counts([&] {
      return ops::max_pool2d_backward(dy, index, {c.x[1], c.x[2]}, c.geometry);
    });
    expect_same_on_all_thread_counts([&] { return ops::avg_pool2d(x, c.geometry); });
    expect_same_on_all_thread_counts([&] {
      return ops::avg_pool2d_backward(dy, {c.x[1], c.x[2]}, c.geometry);
    });
  }
}

TEST(Pool2d, RefusesWrongArguments) {
  const Tensor x = Tensor::zeros(DType::f32, {1, 4, 4, 3}, test::device());
  const Tensor dy = Tensor::zeros(DType::f32, {1, 2, 2, 3}, test::device());
  const Tensor index = Tensor::zeros(DType::u8, {1, 2, 2, 3}, test::device());
  const Pool2dGeometry square{.kernel = {2, 2}, .stride = {2, 2}};
  const auto max = [&](const Pool2dGeometry& g) { return [&, g] { ops::max_pool2d(x, g, false); }; };
  expect_error("ERR_HARDBIT_ARGUMENT", max({.kernel = {0, 2}}), "kernel rows is 0");
  expect_error("ERR_HARDBIT_ARGUMENT", max({.kernel = {2, -1}}), "kernel columns is -1");
  expect_error("ERR_HARDBIT_ARGUMENT", max({.kernel = {16, 17}}), "272 places");
  expect_error("ERR_HARDBIT_ARGUMENT", max({.kernel = {2, 2}, .stride = {0, 1}}), "stride rows");
  expect_error("ERR_HARDBIT_ARGUMENT", max({.kernel = {2, 3}, .padding = {2, 0, 0, 0}}),
               "padding above is 2");
  expect_error("ERR_HARDBIT_ARGUMENT", max({.kernel = {2, 3}, .padding = {1, 1, 2, 3}}),
               "padding right is 3");
  expect_error("ERR_HARDBIT_ARGUMENT", max({.kernel = {2, 2}, .padding = {0, -1, 0, 0}}), "padding below");
  expect_error("ERR_HARDBIT_SHAPE", max({.kernel = {5, 1}}), "4×4 pixels");
  expect_error(
      "ERR_HARDBIT_SHAPE",
      [&] {
        ops::max_pool2d(Tensor::zeros(DType::f32, {1, (1 << 30) + 1, 1, 0}, test::device()), square, false);
      },
      "2^30");
  expect_error("ERR_HARDBIT_SHAPE", [&] {
    ops::max_pool2d(Tensor::zeros(DType::f32, {1, 0, 4, 3}, test::device()), square, false);
  });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::max_pool2d(x.reshape({4, 4, 3}), square, false); });
  expect_error("ERR_HARDBIT_DTYPE", [&] {
    ops::max_pool2d(Tensor::zeros(DType::u8, {1, 4, 4, 3}, test::device()), square, false);
  });
  expect_error(
      "ERR_HARDBIT_SHAPE",
      [&] {
        ops::max_pool2d_backward(dy, index, {7, 4}, square);
      },
      "dy has shape");
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::max_pool2d_backward(dy, dy, {4, 4}, square); });
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::max_pool2d_backward(dy, index, {-4, 4}, square); });
  std::vector<std::uint8_t> places(12);
  places[7] = 4;
  const Tensor wrong = make({1, 2, 2, 3}, places);
  expect_error(
      "ERR_HARDBIT_ARGUMENT",
      [&] {
        bytes(ops::max_pool2d_backward(dy, wrong, {4, 4}, square));  // read, because a GPU reports it then
      },
      test::device() == Device::cpu ? "the place 4" : "pooling");
  const Tensor bits = Tensor::zeros(DType::bits, {1, 4, 4, 3}, test::device());
  expect_error("ERR_HARDBIT_DTYPE",
               [&] { ops::pool_signs(x, square, Tensor::zeros(DType::bits, {3}, test::device())); });
  expect_error(
      "ERR_HARDBIT_SHAPE",
      [&] { ops::pool_signs(bits, square, Tensor::zeros(DType::bits, {4}, test::device())); }, "and has");
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::avg_pool2d(bits, square); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::avg_pool2d_backward(dy, {9, 4}, square); });
}

}  // namespace
}  // namespace hardbit
