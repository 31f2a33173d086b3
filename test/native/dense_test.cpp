#include "ops/dense.h"

#include <array>
#include <cmath>
#include <thread>

#include "cpu/onednn.h"
#include "support.h"

namespace hardbit {
namespace {

using test::bytes;
using test::expect_error;
using test::make;
using test::random_tensor;
using test::values;

/// One dot product in double and the sum of its terms' magnitudes, which bounds the rounding error.
struct Dot {
  double value = 0;
  double magnitude = 0;
  void add(float a, float b) {
    const double term = static_cast<double>(a) * static_cast<double>(b);
    value += term;
    magnitude += std::abs(term);
  }
};

void expect_close(float actual, const Dot& expected, std::int64_t k) {
  // Any order of k fp32 additions of rounded products.
  ASSERT_NEAR(actual, expected.value, expected.magnitude * static_cast<double>(k + 1) * 0x1p-24 + 1e-30);
}

/// A tensor's values on the host.
struct Matrix {
  explicit Matrix(const Tensor& t) : shape(t.shape()), all(values<float>(t)) {}
  float at(std::int64_t i, std::int64_t j) const { return all[static_cast<std::size_t>(i * shape[1] + j)]; }
  Shape shape;
  std::vector<float> all;
};

void check_products(std::int64_t n, std::int64_t k, std::int64_t m) {
  SCOPED_TRACE("N " + std::to_string(n) + " K " + std::to_string(k) + " M " + std::to_string(m));
  const Tensor x_tensor = random_tensor({n, k}, 1);
  const Tensor w_tensor = random_tensor({m, k}, 2);
  const Tensor bias_tensor = random_tensor({m}, 3);
  const Tensor dy_tensor = random_tensor({n, m}, 4);
  const Matrix x(x_tensor);
  const Matrix w(w_tensor);
  const Matrix dy(dy_tensor);
  const auto bias = values<float>(bias_tensor);

  test::poison_cache();
  const Matrix y(ops::dense_forward(x_tensor, w_tensor, &bias_tensor));
  const Matrix plain(ops::dense_forward(x_tensor, w_tensor, nullptr));
  ASSERT_EQ(y.shape, (Shape{n, m}));
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < m; ++j) {
      Dot dot;
      for (std::int64_t c = 0; c < k; ++c) dot.add(x.at(i, c), w.at(j, c));
      expect_close(plain.at(i, j), dot, k);
      dot.add(bias[static_cast<std::size_t>(j)], 1);
      expect_close(y.at(i, j), dot, k + 1);
    }
  }
  const Matrix dx(ops::dense_backward_input(dy_tensor, w_tensor));
  ASSERT_EQ(dx.shape, (Shape{n, k}));
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t c = 0; c < k; ++c) {
      Dot dot;
      for (std::int64_t j = 0; j < m; ++j) dot.add(dy.at(i, j), w.at(j, c));
      expect_close(dx.at(i, c), dot, m);
    }
  }
  const Matrix dw(ops::dense_backward_weight(dy_tensor, x_tensor));
  ASSERT_EQ(dw.shape, (Shape{m, k}));
  for (std::int64_t j = 0; j < m; ++j) {
    for (std::int64_t c = 0; c < k; ++c) {
      Dot dot;
      for (std::int64_t i = 0; i < n; ++i) dot.add(dy.at(i, j), x.at(i, c));
      expect_close(dw.at(j, c), dot, n);
    }
  }
}

TEST(Dense, AgreesWithDoubleOnAwkwardShapes) {
  for (const std::int64_t n : {1, 2, 7, 17}) {
    for (const std::int64_t k : {1, 3, 16, 65}) {
      for (const std::int64_t m : {1, 5, 10, 33}) check_products(n, k, m);
    }
  }
  check_products(31, 785, 10);
}

TEST(Dense, EmptyShapesGiveEmptyOrBiasAlone) {
  for (const auto& [n, k, m] :
       {std::array{0, 3, 2}, std::array{3, 0, 2}, std::array{3, 2, 0}, std::array{0, 0, 0}}) {
    check_products(n, k, m);
  }
}

TEST(Dense, RepeatsItself) {
  const Tensor x = random_tensor({128, 784}, 1);
  const Tensor w = random_tensor({600, 784}, 2);
  const auto first = bytes(ops::dense_forward(x, w, nullptr));
  const int times = test::device() == Device::cpu ? 5 : 1;  // an emulated GPU is slow
  for (int i = 0; i < times; ++i) ASSERT_EQ(bytes(ops::dense_forward(x, w, nullptr)), first);
}

TEST(Dense, EachCallingThreadHasItsOwnProducts) {
  const Tensor x = random_tensor({17, 65}, 1);
  const Tensor w = random_tensor({33, 65}, 2);
  const auto expected = bytes(ops::dense_forward(x, w, nullptr));
  std::vector<std::thread> workers;
  for (int t = 0; t < 3; ++t) {
    workers.emplace_back([&] {
      for (int i = 0; i < 20; ++i) EXPECT_EQ(bytes(ops::dense_forward(x, w, nullptr)), expected);
    });
  }
  for (std::thread& worker : workers) worker.join();
}

TEST(Dense, ManyShapesDoNotPileUp) {
  // More shapes than are kept, and the first again.
  for (std::int64_t n = 1; n <= 300; ++n) {
    const Tensor y = ops::dense_forward(make({n, 1}, std::vector<float>(static_cast<std::size_t>(n), 2)),
                                        make<float>({1, 1}, {3}), nullptr);
    ASSERT_EQ(values<float>(y), std::vector<float>(static_cast<std::size_t>(n), 6));
  }
  EXPECT_EQ(values<float>(ops::dense_forward(make<float>({1, 1}, {2}), make<float>({1, 1}, {5}), nullptr))[0],
            10);
}

TEST(Dense, SumRowsIsRoundedOnce) {
  for (const auto& [n, m] : {std::array{0, 3}, std::array{3, 0}, std::array{1, 1}, std::array{17, 65},
                             std::array{2049, 3}, std::array{4097, 65}}) {
    const Tensor x = random_tensor({n, m}, 6);
    test::poison_cache();
    const auto sums = values<float>(ops::sum_rows(x));
    const auto numbers = values<float>(x);
    ASSERT_EQ(sums.size(), static_cast<std::size_t>(m));
    for (std::int64_t j = 0; j < m; ++j) {
      long double sum = 0;
      for (std::int64_t i = 0; i < n; ++i)
        sum += static_cast<long double>(numbers[static_cast<std::size_t>(i * m + j)]);
      // Double sums differ from the exact one by far less than half an fp32 step, save at a tie.
      ASSERT_NEAR(sums[static_cast<std::size_t>(j)], static_cast<float>(sum),
                  std::abs(static_cast<float>(sum)) * 0x1p-23);
    }
  }
  const Tensor images = random_tensor({3, 5, 7, 19}, 8);
  EXPECT_EQ(test::bytes(ops::sum_rows(images)), test::bytes(ops::sum_rows(images.reshape({105, 19}))));
  const Tensor x = random_tensor({test::device() == Device::cpu ? 10007 : 3001, 67}, 7);
  test::expect_same_on_all_thread_counts([&] { return ops::sum_rows(x); });
}

TEST(Dense, RefusesWrongOperands) {
  const Tensor x = Tensor::zeros(DType::f32, {4, 3}, test::device());
  const Tensor w = Tensor::zeros(DType::f32, {2, 3}, test::device());
  const Tensor dy = Tensor::zeros(DType::f32, {4, 2}, test::device());
  const Tensor bad = Tensor::zeros(DType::f32, {5, 5}, test::device());
  const Tensor ints = Tensor::zeros(DType::i32, {4, 3}, test::device());
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::dense_forward(x, bad, nullptr); }, "the columns of x");
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::dense_forward(x.reshape({12}), w, nullptr); }, "[N, K]");
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::dense_forward(x, w, &x); }, "bias");
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::dense_forward(ints, w, nullptr); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::dense_backward_input(dy, bad); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::dense_backward_weight(dy, bad); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::dense_backward_weight(dy, ints); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::sum_rows(x.reshape({12})); });
  EXPECT_FALSE(cpu::onednn_version().empty());
}

}  // namespace
}  // namespace hardbit
