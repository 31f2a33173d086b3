#include <cmath>
#include <limits>

#include "bit_cases.h"
#include "cuda/runtime.h"
#include "ops/bits.h"
#include "ops/discretize.h"
#include "ops/dropout.h"
#include "ops/quantize.h"
#include "ops/quantize_weights.h"
#include "ops/random.h"
#include "ops/rows.h"
#include "ops/sign.h"

// Quantizers, random numbers and rows: what the GPU gives against what the cpu gives, around the edges that
// the kernels have.

namespace hardbit {
namespace {

using test::expect_error;
using test::expect_same;

class CudaQuantizers : public testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    if (cuda::driver::devices(reason).empty()) GTEST_SKIP() << reason;
  }
};

/// Rows of at most 32 columns go 32 to a warp; longer ones in eight halves of words.
const std::vector<Shape> bit_shapes = {{},      {0},       {1},       {0, 40},   {40, 0},   {1, 1},   {31, 1},
                                       {33, 1}, {300, 3},  {257, 20}, {32, 31},  {65, 32},  {33, 33}, {5, 64},
                                       {3, 65}, {17, 100}, {9, 129},  {2, 1000}, {1, 2049}, {70, 96}};

Tensor here(const std::vector<float>& x, const Shape& shape) {
  return Tensor::from_host(DType::f32, shape, x.data());
}
Tensor awkward(const Shape& shape, std::uint32_t seed) {
  return here(test::awkward_floats(static_cast<std::size_t>(element_count(shape)), seed), shape);
}
Tensor uniform(const Shape& shape, std::uint32_t seed, float low = -2, float high = 2) {
  return here(test::random_floats(element_count(shape), seed, low, high), shape);
}
Tensor gpu(const Tensor& x) { return x.to(Device::cuda); }

/// Equal but for ties of numbers in double.
void expect_close(const Tensor& actual, const Tensor& expected, const std::string& what) {
  const auto a = test::values<float>(actual);
  const auto b = test::values<float>(expected);
  ASSERT_EQ(a.size(), b.size()) << what;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ASSERT_TRUE(a[i] == b[i] || std::nextafter(a[i], b[i]) == b[i] || (std::isnan(a[i]) && std::isnan(b[i])))
        << what << " " << i << ": " << a[i] << " and " << b[i];
  }
}

TEST_F(CudaQuantizers, BitsAreThoseOfTheCpu) {
  for (const Shape& shape : bit_shapes) {
    const std::string what = to_string(shape);
    const Tensor x = awkward(shape, 1);
    const Tensor dy = awkward(shape, 2);
    const Tensor bits = test::random_bits(shape, 3);
    expect_same(ops::pack_signs(gpu(x)), ops::pack_signs(x), what);
    const ops::SignForward there = ops::sign_forward(gpu(x));
    const ops::SignForward cpu = ops::sign_forward(x);
    expect_same(there.signs, cpu.signs, what);
    expect_same(there.mask, cpu.mask, what);
    expect_same(ops::unpack_signs(gpu(bits)), ops::unpack_signs(bits), what);
    expect_same(ops::mask_backward(gpu(dy), gpu(bits)), ops::mask_backward(dy, bits), what);
    expect_same(ops::pack_signs_shifted(gpu(x), 0.25), ops::pack_signs_shifted(x, 0.25), what);
    if (x.count() > 0) {
      expect_same(ops::reshape_signs(gpu(bits), {x.count()}), ops::reshape_signs(bits, {x.count()}), what);
      expect_same(ops::reshape_signs(gpu(bits), {x.count(), 1}), ops::reshape_signs(bits, {x.count(), 1}),
                  what);
    }
    EXPECT_EQ(ops::count_different_signs(gpu(bits), gpu(cpu.signs)),
              ops::count_different_signs(bits, cpu.signs));
  }
}

TEST_F(CudaQuantizers, ManyBlocksOfRowsToo) {
  for (const Shape& shape : std::vector<Shape>{{3001, 7}, {1009, 70}, {40, 3001}}) {
    const Tensor x = awkward(shape, 4);
    expect_same(ops::pack_signs(gpu(x)), ops::pack_signs(x), to_string(shape));
  }
}

TEST_F(CudaQuantizers, UnalignedSlicesGiveTheSame) {
  // From the second element on no address is a multiple of 16.
  const Tensor x = awkward({1 + 4 * 64}, 5);
  const Tensor dy = awkward({1 + 4 * 64}, 6);
  const auto slice = [](const Tensor& t) { return t.slice(1, 257).reshape({4, 64}); };
  const Tensor xs = slice(x);
  const Tensor dys = slice(dy);
  const Tensor xg = slice(gpu(x));
  const Tensor dyg = slice(gpu(dy));
  const Tensor mask = test::random_bits({4, 64}, 7);
  expect_same(ops::mask_backward(dyg, gpu(mask)), ops::mask_backward(dys, mask), "mask");
  expect_same(ops::discretize(xg, 3), ops::discretize(xs, 3), "codes");
  const Tensor codes = test::random_codes({1 + 257}, 8, 8);
  expect_same(ops::codes_to_float(gpu(codes).slice(1, 258), 8), ops::codes_to_float(codes.slice(1, 258), 8),
              "floats");
  const ops::Dropout there = ops::dropout(xg, 0.4, 1, 2, 3);
  const ops::Dropout cpu = ops::dropout(xs, 0.4, 1, 2, 3);
  expect_same(there.mask, cpu.mask, "mask");
  const Tensor indices = Tensor::zeros(DType::i32, {3});
  expect_same(ops::gather(xg, indices), ops::gather(xs, indices), "gather");
  expect_same(ops::gather_images(gpu(codes).slice(1, 257).reshape({4, 64}), indices),
              ops::gather_images(codes.slice(1, 257).reshape({4, 64}), indices), "images");
}

TEST_F(CudaQuantizers, CodesAreThoseOfTheCpu) {
  for (const std::int64_t n : {0, 1, 3, 4, 5, 1023, 1025, 5003}) {
    const Tensor x = awkward({n}, 9);
    const Tensor dy = uniform({n}, 10);
    expect_same(ops::heaviside(gpu(x)), ops::heaviside(x), "heaviside");
    for (int bits = 1; bits <= 8; ++bits) {
      expect_same(ops::discretize(gpu(x), bits), ops::discretize(x, bits), "discretize");
      const Tensor codes = test::random_codes({n}, bits, 11);
      expect_same(ops::codes_to_float(gpu(codes), bits), ops::codes_to_float(codes, bits), "floats");
    }
    expect_same(ops::clipped_backward(gpu(dy), gpu(x)), ops::clipped_backward(dy, x), "clipped");
    expect_same(ops::unit_backward(gpu(dy), gpu(x)), ops::unit_backward(dy, x), "unit");
    expect_same(ops::approx_sign_backward(gpu(dy), gpu(x)), ops::approx_sign_backward(dy, x), "approx");
    expect_close(ops::swish_sign_backward(gpu(dy), gpu(x), 5), ops::swish_sign_backward(dy, x, 5), "swish");
  }
}

TEST_F(CudaQuantizers, WeightsAreThoseOfTheCpu) {
  for (const Shape& shape : std::vector<Shape>{{1, 1}, {3, 255}, {2, 257}, {5, 3, 3, 7}, {3, 0}, {0, 4}}) {
    const std::string what = to_string(shape);
    const Tensor w = uniform(shape, 12);
    const Tensor g = uniform(shape, 13);
    const Tensor alpha = uniform({shape[0]}, 14, 0, 1);
    using Gradient = ops::MagnitudeGradient;
    for (const Gradient rule : {Gradient::constant, Gradient::paper, Gradient::chain}) {
      expect_close(ops::magnitude_sign_backward(gpu(g), gpu(w), gpu(alpha), rule),
                   ops::magnitude_sign_backward(g, w, alpha, rule), what);
    }
    for (const int bits : {1, 4, 8}) {
      const auto there = ops::dorefa_weights(gpu(w), bits);
      const auto cpu = ops::dorefa_weights(w, bits);
      EXPECT_EQ(there.maximum, cpu.maximum) << what;
      expect_same(there.codes, cpu.codes, what);
    }
    expect_close(ops::dorefa_weights_backward(gpu(g), gpu(w), 0.5), ops::dorefa_weights_backward(g, w, 0.5),
                 what);
    if (w.count() == 0) continue;
    EXPECT_NEAR(ops::mean_magnitude(gpu(w)), ops::mean_magnitude(w), 1e-14);
    expect_close(ops::row_magnitudes(gpu(w)), ops::row_magnitudes(w), what);
  }
}

TEST_F(CudaQuantizers, PlanesAreThoseOfTheCpu) {
  for (const Shape& shape : std::vector<Shape>{{0, 5}, {3, 0}, {33, 20}, {3, 65}, {9, 300}}) {
    for (int bits = 1; bits <= 8; ++bits) {
      const Tensor codes = test::random_codes(shape, bits, 15);
      expect_same(ops::code_planes(gpu(codes), bits), ops::code_planes(codes, bits), to_string(shape));
    }
  }
  // More planes than fit into the arguments of a kernel.
  for (const std::int64_t count : {1, 3, 32, 33, 70}) {
    const std::vector<double> coefficients(static_cast<std::size_t>(count), -3);
    const Tensor planes = test::random_bits({count * 2, 70}, 16);
    const Tensor scale = uniform({2}, 17);
    expect_same(ops::planes_to_float(gpu(planes), coefficients, gpu(scale)),
                ops::planes_to_float(planes, coefficients, scale), std::to_string(count));
    const Tensor y = ops::random_integers(5 * count * 3, 1, 2).reshape({5, count * 3});
    expect_same(ops::combine_planes(gpu(y), coefficients), ops::combine_planes(y, coefficients),
                std::to_string(count));
  }
}

TEST_F(CudaQuantizers, CodesOfTooManyBitsAreReported) {
  const Tensor codes = gpu(test::random_codes({3, 40}, 8, 18));
  const Tensor planes = ops::code_planes(codes, 2);
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { test::bytes(planes); }, "code");
  EXPECT_NO_THROW(test::bytes(planes));  // reported once
}

TEST_F(CudaQuantizers, RandomNumbersAreThoseOfTheCpu) {
  for (const std::int64_t n : {0, 1, 2, 3, 4, 5, 1023, 4099}) {
    expect_same(ops::random_integers(n, 7, 3, Device::cuda), ops::random_integers(n, 7, 3), "integers");
    expect_same(ops::random_uniform({n}, -0.1, 0.1, 7, 3, Device::cuda),
                ops::random_uniform({n}, -0.1, 0.1, 7, 3), "uniform");
    expect_same(ops::permutation(n, 7, 3, Device::cuda), ops::permutation(n, 7, 3), "permutation");
  }
  // Where sums round up to the end of the range: above, at and below zero.
  const float tiny = std::numeric_limits<float>::denorm_min();
  const float below_one = std::nextafter(1.0F, 0.0F);
  for (const auto& [low, high] : std::vector<std::pair<float, float>>{
           {below_one, 1.0F}, {-1.0F, -below_one}, {-tiny, 0.0F}, {0.0F, tiny}, {-3 * tiny, tiny}}) {
    const auto l = static_cast<double>(low);
    const auto h = static_cast<double>(high);
    const Tensor there = ops::random_uniform({2000}, l, h, 1, 1, Device::cuda);
    expect_same(there, ops::random_uniform({2000}, l, h, 1, 1), std::to_string(low));
    for (const float v : test::values<float>(there)) ASSERT_TRUE(v >= low && v < high) << v;
  }
}

TEST_F(CudaQuantizers, DropoutIsThatOfTheCpu) {
  for (const Shape& shape : bit_shapes) {
    for (const double rate : {0.0, 0.3}) {
      const Tensor x = uniform(shape, 19);
      const ops::Dropout there = ops::dropout(gpu(x), rate, 7, 3, (1ULL << 40) + 5);
      const ops::Dropout cpu = ops::dropout(x, rate, 7, 3, (1ULL << 40) + 5);
      expect_same(there.mask, cpu.mask, to_string(shape));
      expect_same(there.y, cpu.y, to_string(shape));
      expect_same(ops::dropout_backward(gpu(x), there.mask, rate), ops::dropout_backward(x, cpu.mask, rate),
                  to_string(shape));
    }
  }
}

TEST_F(CudaQuantizers, RowsAreThoseOfTheCpu) {
  std::vector<std::int32_t> order;
  for (std::int32_t i = 0; i < 20; ++i) order.push_back(i * 7 % 11);
  const Tensor indices = Tensor::from_host(DType::i32, {20}, order.data());
  // Units of 16, 4 and 1 bytes.
  for (const std::int64_t columns : {0, 1, 3, 4, 16, 31, 128, 129, 400}) {
    const std::string what = std::to_string(columns);
    const Tensor f = uniform({11, columns}, 20);
    const Tensor u8 = test::random_codes({11, columns}, 8, 21);
    for (const Tensor& x : {f, u8}) {
      for (const Tensor& which : {indices, gpu(indices)}) {
        expect_same(ops::gather(gpu(x), which), ops::gather(x, indices), what);
        expect_same(ops::gather_images(gpu(x), which), ops::gather_images(x, indices), what);
      }
      const Tensor mask = test::random_codes({11}, 1, 22);
      const Tensor other = ops::gather(x, indices).slice(0, 11);
      expect_same(ops::select_rows(gpu(mask), gpu(x), gpu(other)), ops::select_rows(mask, x, other), what);
      expect_same(ops::concat(gpu(x), gpu(other)), ops::concat(x, other), what);
    }
    // A number in every place of a row in turn, and none in the last row.
    Tensor sparse = Tensor::zeros(DType::f32, {columns + 1, columns});
    for (std::int64_t i = 0; i < columns; ++i) sparse.data<float>()[i * columns + i] = 1e-45F;
    expect_same(ops::zero_rows(gpu(sparse)), ops::zero_rows(sparse), what);
  }
}

TEST_F(CudaQuantizers, WrongIndicesAreReportedEvenOfEmptyRows) {
  const std::int32_t wrong[] = {0, -1};
  const Tensor indices = gpu(Tensor::from_host(DType::i32, {2}, wrong));
  for (const std::int64_t columns : {0, 3}) {
    const Tensor images = gpu(test::random_codes({2, columns}, 8, 23));
    ops::gather(images, indices);
    expect_error("ERR_HARDBIT_ARGUMENT", [&] { cuda::synchronize(); });
    const Tensor y = ops::gather_images(images, indices);
    expect_error("ERR_HARDBIT_ARGUMENT", [&] { cuda::synchronize(); });
    expect_same(y, ops::gather_images(images, Tensor::zeros(DType::i32, {2})), "row 0 in its place");
  }
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::gather(gpu(Tensor::zeros(DType::f32, {0, 3})), indices); });
}

}  // namespace
}  // namespace hardbit
