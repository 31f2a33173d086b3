#include "ops/binary_conv2d.h"

#include <gtest/gtest.h>

#include <cstring>

#include "conv_cases.h"
#include "cpu/binary_conv2d.h"
#include "guarded.h"
#include "ops/bits.h"
#include "ops/discretize.h"
#include "ops/random.h"
#include "ops/reference.h"
#include "product_rows.h"

namespace hardbit {
namespace {

using ops::PaddingValue;
using test::ConvCase;

/// Calls f with a value of the dtype's type.
template <class F>
void with_type(DType dtype, const F& f) {
  dtype == DType::i16 ? f(std::int16_t{}) : f(std::int32_t{});
}

template <class T>
test::Guarded<T> guarded(const Tensor& x) {
  return test::Guarded<T>(std::vector<T>(x.data<T>(), x.data<T>() + x.byte_length() / sizeof(T)));
}

/// On the device of the tests, and back.
Tensor there(const Tensor& x) { return x.to(test::device()); }
Tensor here(const Tensor& x) { return x.to(Device::cpu); }

Tensor run_binary(const Tensor& x, const Tensor& w, const ops::Pair& kernel,
                  const ops::Conv2dGeometry& geometry, PaddingValue padding) {
  return here(ops::binary_conv2d(there(x), there(w), kernel, geometry, padding));
}
Tensor run_codes(const Tensor& x, int bits, const Tensor& w, const ops::Pair& kernel,
                 const ops::Conv2dGeometry& geometry, PaddingValue padding) {
  return here(ops::codes_conv2d(there(x), bits, there(w), kernel, geometry, padding));
}

/// Runs every row into a guarded, poisoned output, from guarded operands.
template <class Run>
void check_rows(const Tensor& expected, const Run& run) {
  if (test::device() != Device::cpu) return;
  for (const test::NamedProductRows& row : test::product_rows()) {
    SCOPED_TRACE(row.name);
    with_type(expected.dtype(), [&]<class Out>(Out) {
      const test::Guarded<Out> y(static_cast<std::size_t>(expected.count()));
      test::poison_cache();
      run(row.rows, y.data());
      ASSERT_TRUE(y.intact());
      for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y.data()[i], expected.data<Out>()[i]) << i;
    });
  }
}

void check_binary(const ConvCase& c, PaddingValue padding, std::uint32_t seed) {
  SCOPED_TRACE(c.text() + (padding == PaddingValue::one ? ", ones" : ", zeros"));
  const ops::Conv2d v = c.sizes();
  const Tensor x = here(test::random_bits({v.n, v.h, v.w, v.c}, seed));
  const Tensor w = here(test::random_bits({v.m, v.k()}, seed + 1));
  const Tensor expected = ops::reference::binary_conv2d(x, w, c.kernel, c.geometry, padding);
  const auto signs = guarded<std::uint64_t>(x);
  const auto weights = guarded<std::uint64_t>(w);
  check_rows(expected, [&](const cpu::ProductRows& rows, auto* out) {
    cpu::binary_conv2d(rows, v, padding, signs.data(), weights.data(), out);
  });
  test::expect_same(run_binary(x, w, c.kernel, c.geometry, padding), expected, "operator");
}

void check_codes(const ConvCase& c, int bits, PaddingValue padding, std::uint32_t seed) {
  SCOPED_TRACE(c.text() + " bits " + std::to_string(bits) +
               (padding == PaddingValue::one ? ", ones" : ", zeros"));
  const ops::Conv2d v = c.sizes();
  const Tensor x = here(test::random_codes({v.n, v.h, v.w, v.c}, bits, seed));
  const Tensor w = here(test::random_bits({v.m, v.k()}, seed + 1));
  const Tensor expected = ops::reference::codes_conv2d(x, bits, w, c.kernel, c.geometry, padding);
  const auto codes = guarded<std::uint8_t>(x);
  const auto weights = guarded<std::uint64_t>(w);
  check_rows(expected, [&](const cpu::ProductRows& rows, auto* out) {
    cpu::codes_conv2d(rows, v, padding, codes.data(), bits, weights.data(), out);
  });
  test::expect_same(run_codes(x, bits, w, c.kernel, c.geometry, padding), expected, "operator");
}

constexpr PaddingValue both[] = {PaddingValue::zero, PaddingValue::one};
constexpr std::int64_t channel_counts[] = {1, 3, 20, 63, 64, 65, 128, 200};

TEST(BinaryConv2d, EqualsTheReferenceOnRandomGeometries) {
  std::mt19937 random(1);
  for (std::uint32_t i = 0; i < 160; ++i) {
    check_binary(test::random_conv(random, channel_counts[i % 8]), both[i / 8 % 2], 2 * i);
    if (HasFailure()) return;
  }
}

TEST(CodesConv2d, EqualsTheReferenceOnRandomGeometries) {
  std::mt19937 random(2);
  constexpr int bits[] = {1, 2, 4, 8};
  for (std::uint32_t i = 0; i < 160; ++i) {
    check_codes(test::random_conv(random, channel_counts[i % 8]), bits[i / 16 % 4], both[i / 8 % 2], 2 * i);
    if (HasFailure()) return;
  }
}

TEST(BinaryConv2d, EqualsTheReferenceOnOddOnes) {
  for (const PaddingValue padding : both) {
    for (const ConvCase& c : test::odd_convs) {
      check_binary(c, padding, 1);
      check_codes(c, 2, padding, 3);
      check_codes(c, 7, padding, 5);
      if (HasFailure()) return;
    }
  }
}

TEST(BinaryConv2d, EqualsTheReferenceBeyondOneTile) {
  for (const PaddingValue padding : both) {
    check_binary({2, 10, 11, 64, 57, {3, 3}, {.padding = {1, 1, 1, 1}}}, padding, 1);
    check_binary({1, 10, 11, 128, 49, {3, 3}, {.padding = {1, 1, 1, 1}, .groups = 1}}, padding, 2);
    check_binary({1, 10, 11, 128, 50, {3, 3}, {.dilation = {2, 2}, .padding = {2, 2, 2, 2}, .groups = 2}},
                 padding, 3);
    // More rows than one set of strings holds.
    check_binary({1, 200, 9, 200, 3, {2, 2}, {}}, padding, 4);
  }
}

TEST(BinaryConv2d, HoldsTheLargestSumsInTheNarrowestType) {
  for (const std::int64_t channels : {3640, 3641}) {  // K = 9 C is 32760 and 32769
    Tensor x = Tensor::empty(DType::f32, {1, 3, 3, channels});
    std::fill_n(x.data<float>(), x.count(), 1.0F);
    Tensor w = Tensor::empty(DType::f32, {1, 9 * channels});
    std::fill_n(w.data<float>(), w.count(), -1.0F);
    const Tensor y = run_binary(ops::pack_signs(x), ops::pack_signs(w), {3, 3}, {}, PaddingValue::zero);
    ASSERT_EQ(y.dtype(), channels == 3640 ? DType::i16 : DType::i32);
    with_type(y.dtype(), [&]<class Out>(Out) { EXPECT_EQ(y.data<Out>()[0], -9 * channels); });
  }
  const Tensor codes = here(test::random_codes({1, 11, 11, 3}, 8, 1));
  const Tensor w = here(test::random_bits({1, 363}, 2));
  EXPECT_EQ(run_codes(codes, 8, w, {11, 11}, {}, PaddingValue::zero).dtype(), DType::i32);
}

TEST(BinaryConv2d, IsTheSameOnEveryThreadCount) {
  const Tensor x = here(test::random_bits({9, 14, 14, 70}, 1));
  const Tensor w = here(test::random_bits({60, 630}, 2));
  const ops::Conv2dGeometry geometry{.padding = {1, 1, 1, 1}};
  test::expect_same(run_binary(x, w, {3, 3}, geometry, PaddingValue::zero),
                    ops::reference::binary_conv2d(x, w, {3, 3}, geometry, PaddingValue::zero), "reference");
  if (test::device() != Device::cpu) GTEST_SKIP() << "threads are the CPU's";
  test::expect_same_on_all_thread_counts([&] {
    return ops::binary_conv2d(x, w, {3, 3}, geometry, PaddingValue::zero);
  });
  const Tensor codes = here(test::random_codes({9, 14, 14, 70}, 4, 3));
  test::expect_same_on_all_thread_counts([&] {
    return ops::codes_conv2d(codes, 4, w, {3, 3}, geometry, PaddingValue::one);
  });
}

TEST(BinaryConv2d, AcceptsSlices) {
  const Tensor x = there(test::random_bits({9, 6, 5, 70}, 1)).slice(3, 7);
  const Tensor w = there(test::random_bits({9, 280}, 2)).slice(2, 8);
  test::expect_same(here(ops::binary_conv2d(x, w, {2, 2}, {}, PaddingValue::zero)),
                    ops::reference::binary_conv2d(here(x), here(w), {2, 2}, {}, PaddingValue::zero),
                    "slices");
  // Slices of one thing seen as another begin at any word and at any byte.
  const Tensor odd = there(test::random_bits({25, 64}, 3)).slice(1, 25).reshape({1, 3, 4, 128});
  const Tensor w128 = there(test::random_bits({5, 512}, 4));
  test::expect_same(here(ops::binary_conv2d(odd, w128, {2, 2}, {}, PaddingValue::zero)),
                    ops::reference::binary_conv2d(here(odd), here(w128), {2, 2}, {}, PaddingValue::zero),
                    "words");
  const Tensor codes =
      there(test::random_codes({9 * 32 + 1}, 8, 5)).slice(1, 9 * 32 + 1).reshape({1, 3, 3, 32});
  const Tensor w32 = there(test::random_bits({5, 128}, 6));
  test::expect_same(here(ops::codes_conv2d(codes, 8, w32, {2, 2}, {}, PaddingValue::zero)),
                    ops::reference::codes_conv2d(here(codes), 8, here(w32), {2, 2}, {}, PaddingValue::zero),
                    "bytes");
}

TEST(BinaryConv2d, RefusesWrongOperands) {
  const Tensor x = here(test::random_bits({2, 5, 6, 4}, 1));
  const Tensor w = here(test::random_bits({6, 36}, 2));
  const ops::Conv2dGeometry plain;
  const auto refuses = [](const char* code, const Tensor& images, const Tensor& weights,
                          const ops::Pair& kernel, const ops::Conv2dGeometry& geometry) {
    test::expect_error(code,
                       [&] { ops::binary_conv2d(images, weights, kernel, geometry, PaddingValue::zero); });
    test::expect_error(
        code, [&] { ops::reference::binary_conv2d(images, weights, kernel, geometry, PaddingValue::one); });
  };
  EXPECT_NO_THROW(ops::binary_conv2d(x, w, {3, 3}, plain, PaddingValue::zero));
  refuses("ERR_HARDBIT_DTYPE", Tensor::zeros(DType::f32, {2, 5, 6, 4}), w, {3, 3}, plain);
  refuses("ERR_HARDBIT_DTYPE", x, Tensor::zeros(DType::f32, {6, 36}), {3, 3}, plain);
  refuses("ERR_HARDBIT_SHAPE", x.reshape({10, 6, 4}), w, {3, 3}, plain);
  refuses("ERR_HARDBIT_SHAPE", x, test::random_bits({6, 9, 4}, 2), {3, 3}, plain);
  refuses("ERR_HARDBIT_SHAPE", x, w, {3, 2}, plain);
  refuses("ERR_HARDBIT_SHAPE", x, w, {3, 3}, {.groups = 2});
  refuses("ERR_HARDBIT_SHAPE", x, w, {3, 3}, {.groups = 3});
  refuses("ERR_HARDBIT_SHAPE", x, w, {3, 3}, {.dilation = {3, 1}});
  refuses("ERR_HARDBIT_ARGUMENT", x, w, {0, 3}, plain);
  refuses("ERR_HARDBIT_ARGUMENT", x, w, {3, 3}, {.stride = {0, 1}});
  refuses("ERR_HARDBIT_ARGUMENT", x, w, {3, 3}, {.padding = {-1, 0, 0, 0}});
}

TEST(CodesConv2d, IsExactWhereItRunsInFloat) {
  for (const int bits : {5, 8}) {
    for (const std::int64_t channels : {1, 2, 3}) {
      const ops::Conv2dGeometry geometry{.stride = {1, 2}, .padding = {2, 1, 0, 3}};
      const Tensor codes = ops::discretize(ops::random_uniform({3, 11, 9, channels}, 0, 1, 1, 2), bits);
      const Tensor w = ops::pack_signs(ops::random_uniform({21, 9 * channels}, -1, 1, 3, 4));
      for (const auto padding : {ops::PaddingValue::zero, ops::PaddingValue::one}) {
        const Tensor found = run_codes(codes, bits, w, {3, 3}, geometry, padding);
        const Tensor expected = ops::reference::codes_conv2d(codes, bits, w, {3, 3}, geometry, padding);
        ASSERT_EQ(found.dtype(), expected.dtype());
        EXPECT_EQ(std::memcmp(found.raw(), expected.raw(), found.byte_length()), 0)
            << bits << " bits, " << channels << " channels";
      }
    }
  }
}

TEST(CodesConv2d, RefusesWrongOperands) {
  const Tensor codes = here(test::random_codes({2, 5, 6, 4}, 3, 1));
  const Tensor w = here(test::random_bits({6, 36}, 2));
  const auto refuses = [](const char* code, const Tensor& x, int bits, const Tensor& weights) {
    test::expect_error(code, [&] { ops::codes_conv2d(x, bits, weights, {3, 3}, {}, PaddingValue::zero); });
    test::expect_error(code, [&] {
      ops::reference::codes_conv2d(x, bits, weights, {3, 3}, {}, PaddingValue::zero);
    });
  };
  EXPECT_NO_THROW(ops::codes_conv2d(codes, 3, w, {3, 3}, {}, PaddingValue::zero));
  refuses("ERR_HARDBIT_ARGUMENT", codes, 0, w);
  refuses("ERR_HARDBIT_ARGUMENT", codes, 9, w);
  refuses("ERR_HARDBIT_DTYPE", test::random_bits({2, 5, 6, 4}, 1), 3, w);
  refuses("ERR_HARDBIT_DTYPE", codes, 3, codes);
  refuses("ERR_HARDBIT_SHAPE", codes, 3, test::random_bits({6, 35}, 2));
  // A code too large is found wherever it is, here between the windows of a stride.
  Tensor large = Tensor::zeros(DType::u8, {1, 3, 3, 1});
  large.data<std::uint8_t>()[4] = 4;
  const auto strided = [&](int bits) {
    return run_codes(large, bits, test::random_bits({1, 1}, 1), {1, 1}, {.stride = {2, 2}},
                     PaddingValue::zero);
  };
  test::expect_error("ERR_HARDBIT_ARGUMENT", [&] { strided(2); });
  EXPECT_NO_THROW(strided(3));
}

TEST(CodesConv2d, RefusesSumsThatMayNotFitInto32Bits) {
  const auto run = [](std::int64_t channels) {
    ops::codes_conv2d(Tensor::zeros(DType::u8, {0, 2, 2, channels}), 8,
                      Tensor::zeros(DType::bits, {0, 4 * channels}), {2, 2}, {}, PaddingValue::zero);
  };
  EXPECT_NO_THROW(run(2105376));  // 4 · 2105376 = 8421504
  test::expect_error(
      "ERR_HARDBIT_SHAPE", [&] { run(2105377); }, "8421504");
}

}  // namespace
}  // namespace hardbit
