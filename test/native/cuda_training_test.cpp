#include <bit>
#include <cmath>
#include <limits>
#include <tuple>

#include "bit_cases.h"
#include "ops/attack.h"
#include "ops/batch_norm.h"
#include "ops/bits.h"
#include "ops/dense.h"
#include "ops/loss.h"
#include "ops/optimizer.h"
#include "ops/pool2d.h"
#include "ops/sign.h"
#include "support.h"

// Attacks, losses, optimizers, pooling and batch norm of a GPU against those of the cpu: equal to the last
// bit, but for sums in double and functions of double, whose roundings to fp32 may lie side by side.

namespace hardbit {
namespace {

using ops::SignSurrogate;
using test::bytes;
using test::host;
using test::random_floats;
using test::values;

class CudaTraining : public testing::Test {
 protected:
  void SetUp() override {
    if (test::device() != Device::cuda) GTEST_SKIP() << "runs on the cuda device (HARDBIT_TEST_DEVICE)";
  }
};

Tensor there(const Tensor& x) { return x.to(Device::cuda); }

Tensor floats(Shape shape, std::uint32_t seed, float low = -1, float high = 1) {
  return host(test::random_tensor(std::move(shape), seed, low, high));
}

/// The same bytes.
void expect_equal(const Tensor& actual, const Tensor& expected) {
  ASSERT_EQ(actual.shape(), expected.shape());
  EXPECT_EQ(bytes(actual), bytes(expected));
}

/// The same numbers or neighbours.
void expect_close(const Tensor& actual, const Tensor& expected) {
  ASSERT_EQ(actual.shape(), expected.shape());
  const auto a = values<float>(actual);
  const auto e = values<float>(expected);
  for (std::size_t i = 0; i < a.size(); ++i) {
    const bool neighbours = std::nextafter(a[i], e[i]) == e[i];
    ASSERT_TRUE(neighbours || (std::isnan(a[i]) && std::isnan(e[i])))
        << a[i] << " and " << e[i] << " at " << i;
  }
}

template <class T>
Tensor integers(const Shape& shape, int most) {
  std::mt19937 random(3);
  std::vector<T> x(static_cast<std::size_t>(element_count(shape)));
  for (T& v : x)
    v = static_cast<T>(static_cast<std::int64_t>(random()) % (2 * std::int64_t{most} + 1) - most);
  return Tensor::from_host(test::dtype_of<T>(), shape, x.data());
}

// Around the columns and the rows of a block, and those of several blocks; columns that are read one by one,
// by four and by eight, with and without padding behind their bits.
const std::vector<Shape> row_shapes = {{2, 1},    {2, 3},     {300, 1},  {257, 2},  {515, 10},  {129, 32},
                                       {128, 33}, {127, 5},   {40, 63},  {700, 64}, {3, 1, 65}, {9, 257},
                                       {4100, 3}, {5, 4},     {2300, 8}, {63, 12},  {301, 200}, {33, 40},
                                       {31, 128}, {130, 260}, {7, 1024}, {9, 1028}, {3, 2064}};

TEST_F(CudaTraining, BatchNormOfIntegersIsTheCpusBitForBit) {
  for (const Shape& shape : row_shapes) {
    for (const Tensor& x : {integers<std::int16_t>(shape, 784), integers<std::int32_t>(shape, 1 << 30)}) {
      SCOPED_TRACE(to_string(shape));
      const double scale = 1.0 / 3;
      const std::int64_t c = shape.back();
      const Tensor gamma = floats({c}, 2, -2, 2);
      const Tensor beta = floats({c}, 3);
      const Tensor running[] = {floats({c}, 4), floats({c}, 5, 0, 2)};
      const auto train = [&](auto on) {
        const Tensor moved[] = {on(running[0].clone()), on(running[1].clone())};
        const auto out =
            ops::batch_norm_train(on(x), scale, on(gamma), on(beta), moved[0], moved[1], 0.1, 1e-5);
        const auto signs =
            ops::batch_norm_sign_train(on(x), scale, on(gamma), on(beta), on(running[0].clone()),
                                       on(running[1].clone()), 0.1, 1e-5, true);
        return std::vector{out.y,         out.mean,   out.inverse_deviation,
                           moved[0],      moved[1],   signs.y.signs,
                           *signs.y.mask, signs.mean, signs.inverse_deviation};
      };
      const auto expected = train([](const Tensor& t) { return t; });
      const auto actual = train(there);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        SCOPED_TRACE(i);
        expect_equal(actual[i], expected[i]);
      }
    }
    if (HasFailure()) return;
  }
}

TEST_F(CudaTraining, BatchNormOfFloatsIsTheCpusButForTheOrderOfSums) {
  for (const Shape& shape : row_shapes) {
    SCOPED_TRACE(to_string(shape));
    const std::int64_t c = shape.back();
    const Tensor x = floats(shape, 1, -3, 5);
    const Tensor gamma = floats({c}, 2, -2, 2);
    const Tensor beta = floats({c}, 3);
    const auto train = [&](auto on) {
      const Tensor moved[] = {on(floats({c}, 4)), on(floats({c}, 5, 0, 2))};
      const auto out = ops::batch_norm_train(on(x), 1, on(gamma), on(beta), moved[0], moved[1], 0.1, 1e-5);
      return std::vector{out.mean, out.inverse_deviation, moved[0], moved[1]};
    };
    const auto expected = train([](const Tensor& t) { return t; });
    const auto actual = train(there);
    for (std::size_t i = 0; i < expected.size(); ++i) expect_close(actual[i], expected[i]);
    if (HasFailure()) return;
  }
}

TEST_F(CudaTraining, BatchNormsGradientsAreTheCpusButForTheOrderOfSums) {
  for (const Shape& shape : row_shapes) {
    for (const Tensor& x : {floats(shape, 1, -3, 5), integers<std::int16_t>(shape, 300)}) {
      SCOPED_TRACE(to_string(shape));
      const double scale = x.dtype() == DType::f32 ? 1 : 0.01;
      const std::int64_t c = shape.back();
      const Tensor gamma = floats({c}, 2, -2, 2);
      const Tensor beta = floats({c}, 3);
      const Tensor mean = floats({c}, 4);
      const Tensor inverse = floats({c}, 5, 0.1F, 2);
      const Tensor dy = floats(shape, 6);
      const Tensor mask = host(test::random_bits(shape, 7));
      for (const SignSurrogate surrogate :
           {SignSurrogate::clipped, SignSurrogate::identity, SignSurrogate::approx, SignSurrogate::swish}) {
        const bool masks = surrogate == SignSurrogate::clipped;
        const bool reads = surrogate == SignSurrogate::approx || surrogate == SignSurrogate::swish;
        const auto run = [&](auto on) {
          const Tensor bits = on(mask);
          const Tensor z = on(x);
          const auto out = ops::batch_norm_sign_backward(on(dy), z, scale, on(gamma), on(beta), on(mean),
                                                         on(inverse), surrogate, masks ? &bits : nullptr);
          return std::tuple{out, ops::batch_norm_sign_eval_backward(
                                     on(dy), reads ? &z : nullptr, scale, on(gamma), on(beta), on(mean),
                                     on(inverse), 1e-5, surrogate, masks ? &bits : nullptr)};
        };
        const auto [expected, expected_eval] = run([](const Tensor& t) { return t; });
        const auto [actual, actual_eval] = run(there);
        expect_close(actual.dbeta, expected.dbeta);
        expect_close(actual.dgamma, expected.dgamma);
        const auto a = values<float>(actual.dx);
        const auto e = values<float>(expected.dx);
        for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], e[i], 1e-5);
        if (surrogate == SignSurrogate::swish) {
          expect_close(actual_eval, expected_eval);
        } else {
          expect_equal(actual_eval, expected_eval);
        }
        if (HasFailure()) return;
      }
    }
  }
}

TEST_F(CudaTraining, BatchNormOfEvaluationIsTheCpusBitForBit) {
  for (const Shape& shape : row_shapes) {
    for (const Tensor& x : {host(test::awkward_tensor(shape, 1)), integers<std::int16_t>(shape, 784),
                            integers<std::int32_t>(shape, 1 << 30)}) {
      SCOPED_TRACE(to_string(shape));
      const double scale = x.dtype() == DType::f32 ? 1 : 1.0 / 255;
      const std::int64_t c = shape.back();
      const auto run = [&](auto on) {
        const Tensor z = on(x);
        const Tensor v[] = {on(floats({c}, 2, -2, 2)), on(floats({c}, 3)), on(floats({c}, 4)),
                            on(floats({c}, 5, 0, 2))};
        const auto signs = ops::batch_norm_sign_eval(z, scale, v[0], v[1], v[2], v[3], 1e-5, true);
        return std::vector{ops::batch_norm_eval(z, scale, v[0], v[1], v[2], v[3], 1e-5), signs.signs,
                           *signs.mask,
                           ops::batch_norm_sign_eval(z, scale, v[0], v[1], v[2], v[3], 1e-5, false).signs};
      };
      const auto expected = run([](const Tensor& t) { return t; });
      const auto actual = run(there);
      for (std::size_t i = 1; i < expected.size(); ++i) expect_equal(actual[i], expected[i]);
      // NaNs may have other bits.
      const auto a = values<float>(actual[0]);
      const auto e = values<float>(expected[0]);
      for (std::size_t i = 0; i < a.size(); ++i) {
        ASSERT_TRUE(std::bit_cast<std::uint32_t>(a[i]) == std::bit_cast<std::uint32_t>(e[i]) ||
                    (std::isnan(a[i]) && std::isnan(e[i])));
      }
    }
  }
}

/// The same contents, an element behind the beginning of their memory.
Tensor shifted(const Tensor& x) {
  const std::int64_t n = x.count();
  const Tensor room = Tensor::zeros(x.dtype(), {n + 1}, Device::cuda);
  const Tensor slice = room.slice(1, n + 1);
  slice.write_host(host(x).raw());
  return slice.reshape(x.shape());
}

TEST_F(CudaTraining, BatchNormAndSumsDoNotDependOnWhereTensorsBegin) {
  const Shape shape = {77, 72};
  for (const Tensor& x : {floats(shape, 1, -3, 5), integers<std::int16_t>(shape, 300)}) {
    const auto run = [&](auto on) {
      const double scale = x.dtype() == DType::f32 ? 1 : 0.01;
      const Tensor z = on(x);
      const Tensor dy = on(floats(shape, 2));
      const Tensor mask = there(host(test::random_bits(shape, 3)));
      const Tensor v[] = {on(floats({72}, 4)), on(floats({72}, 5)), on(floats({72}, 6)),
                          on(floats({72}, 7, 0, 2))};
      const auto trained = ops::batch_norm_train(z, scale, v[0], v[1], there(floats({72}, 6)),
                                                 there(floats({72}, 7, 0, 2)), 0.1, 1e-5);
      const auto signs = ops::batch_norm_sign_eval(z, scale, v[0], v[1], v[2], v[3], 1e-5, true);
      const auto backward =
          ops::batch_norm_sign_backward(dy, z, scale, v[0], v[1], v[2], v[3], SignSurrogate::clipped, &mask);
      return std::vector{trained.y,
                         trained.mean,
                         trained.inverse_deviation,
                         signs.signs,
                         *signs.mask,
                         backward.dx,
                         backward.dgamma,
                         backward.dbeta,
                         ops::batch_norm_sign_eval_backward(dy, nullptr, scale, v[0], v[1], v[2], v[3], 1e-5,
                                                            SignSurrogate::clipped, &mask),
                         ops::batch_norm_eval(z, scale, v[0], v[1], v[2], v[3], 1e-5),
                         ops::batch_norm_eval_backward(dy, v[0], v[3], 1e-5),
                         ops::sum_rows(dy),
                         ops::sign_forward(dy).mask,
                         ops::pack_signs(dy)};
    };
    const auto expected = run(there);
    const auto actual = run(shifted);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      SCOPED_TRACE(i);
      expect_equal(actual[i], expected[i]);
    }
  }
}

TEST_F(CudaTraining, SumRowsIsTheCpusButForTheOrderOfSums) {
  for (const Shape& shape : row_shapes) {
    const Tensor x = floats(shape, 1);
    expect_close(ops::sum_rows(there(x)), ops::sum_rows(x));
  }
  expect_equal(ops::sum_rows(Tensor::zeros(DType::f32, {0, 70}, Device::cuda)),
               Tensor::zeros(DType::f32, {70}));
}

TEST_F(CudaTraining, PoolingIsTheCpusBitForBit) {
  struct Case {
    Shape x;
    ops::Pool2dGeometry geometry;
  };
  for (const Case& c :
       std::vector<Case>{{{2, 6, 7, 65}, {.kernel = {2, 2}, .stride = {2, 2}}},
                         {{3, 6, 8, 72}, {.kernel = {2, 2}, .stride = {2, 2}}},
                         {{3, 7, 9, 16}, {.kernel = {2, 2}, .stride = {2, 2}}},
                         {{2, 4, 2, 12}, {.kernel = {2, 2}, .stride = {2, 2}}},
                         {{2, 4, 6, 8}, {.kernel = {2, 2}, .stride = {2, 2}, .padding = {0, 1, 1, 0}}},
                         {{3, 9, 8, 10}, {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1, 1, 1}}},
                         {{1, 7, 5, 130}, {.kernel = {3, 2}, .stride = {1, 2}, .padding = {2, 0, 1, 0}}},
                         {{2, 9, 11, 3}, {.kernel = {2, 3}, .stride = {3, 5}}},
                         {{1, 17, 16, 2}, {.kernel = {16, 16}, .stride = {1, 1}}},
                         {{1, 1, 1, 7}, {.kernel = {3, 3}, .stride = {1, 1}, .padding = {2, 2, 2, 2}}}}) {
    SCOPED_TRACE(to_string(c.x));
    const std::array<std::int64_t, 2> size = {c.x[1], c.x[2]};
    const Tensor x = host(test::awkward_tensor(c.x, 1));
    const Tensor bits = host(test::random_bits(c.x, 2));
    const Tensor all = host(test::random_bits({c.x[3]}, 3));
    const auto run = [&](auto on) {
      std::vector<Tensor> out;
      for (const Tensor& images : {x, bits, integers<std::int16_t>(c.x, 3), integers<std::int32_t>(c.x, 3)}) {
        const auto pooled = ops::max_pool2d(on(images), c.geometry, true);
        out.push_back(pooled.y);
        out.push_back(*pooled.index);
      }
      auto gradient = random_floats(out[1].count(), 4);
      for (std::size_t i = 0; i < gradient.size(); i += 3) gradient[i] = -0.0F;
      const Tensor dy = on(Tensor::from_host(DType::f32, out[1].shape(), gradient.data()));
      out.push_back(ops::max_pool2d_backward(dy, out[1], size, c.geometry));
      out.push_back(ops::max_pool2d_backward(dy, out[7], size, c.geometry));
      out.push_back(ops::pool_signs(on(bits), c.geometry, on(all)));
      out.push_back(ops::avg_pool2d(on(floats(c.x, 5)), c.geometry));
      out.push_back(ops::avg_pool2d_backward(dy, size, c.geometry));
      return out;
    };
    const auto expected = run([](const Tensor& t) { return t; });
    const auto actual = run(there);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      SCOPED_TRACE(i);
      expect_equal(actual[i], expected[i]);
    }
  }
}

TEST_F(CudaTraining, ABadPlaceReceivesNothingAndIsReportedOnce) {
  const ops::Pool2dGeometry geometry{.kernel = {2, 2}, .stride = {2, 2}};
  const std::vector<std::uint8_t> places = {3, 200, 0, 1};
  const std::vector<float> ones(4, 1);
  const Tensor dy = there(Tensor::from_host(DType::f32, {1, 2, 2, 1}, ones.data()));
  const Tensor index = there(Tensor::from_host(DType::u8, {1, 2, 2, 1}, places.data()));
  const Tensor dx = ops::max_pool2d_backward(dy, index, {4, 4}, geometry);
  test::expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { bytes(dx); }, "pooling");
  EXPECT_EQ(values<float>(dx), (std::vector<float>{0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0}));
  // The same places as four channels of one window.
  const Tensor vector =
      ops::max_pool2d_backward(dy.reshape({1, 1, 1, 4}), index.reshape({1, 1, 1, 4}), {2, 2}, geometry);
  test::expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { bytes(vector); }, "pooling");
  EXPECT_EQ(values<float>(vector), (std::vector<float>{0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0}));
}

TEST_F(CudaTraining, LossesAreTheCpusButForTheLastPlaceOfDoubles) {
  for (const auto& [n, c] :
       {std::pair{1, 1}, {0, 3}, {9, 2}, {7, 31}, {8, 32}, {5, 33}, {17, 10}, {3, 1000}}) {
    SCOPED_TRACE(c);
    const Tensor logits = floats({n, c}, 1, -8, 8);
    std::vector<std::int32_t> labels;
    for (int i = 0; i < n; ++i) labels.push_back(i * 7919 % c);
    const Tensor which = Tensor::from_host(DType::i32, {n}, labels.data());
    const auto expected = ops::softmax_cross_entropy(logits, which, 0.5);
    const auto actual = ops::softmax_cross_entropy(there(logits), there(which), 0.5);
    expect_close(actual.losses, expected.losses);
    expect_close(actual.gradient, expected.gradient);
    const Tensor awkward = host(test::awkward_tensor({n, c}, 2));
    expect_equal(ops::argmax(there(awkward)), ops::argmax(awkward));
    const Tensor ties = Tensor::zeros(DType::f32, {n, c});
    expect_equal(ops::argmax(there(ties)), ops::argmax(ties));
  }
}

TEST_F(CudaTraining, OptimizersAreTheCpusBitForBit) {
  for (const std::int64_t n : {0, 1, 255, 257, 5001}) {
    const auto run = [&](auto on) {
      const Tensor g = floats({n}, 2);
      const Tensor start = floats({n}, 1);
      std::vector<Tensor> state;
      for (int i = 0; i < 10; ++i)
        state.push_back(on(i < 5 ? start.clone() : Tensor::zeros(DType::f32, {n})));
      for (int step = 1; step <= 3; ++step) {
        ops::adam_step(state[0], on(g), state[5], state[6],
                       {.step = step, .weight_decay = 0.01, .clip = 0.9});
        ops::sgd_step(state[1], on(g), nullptr, {.learning_rate = 0.1, .weight_decay = 0.01});
        ops::sgd_step(state[2], on(g), &state[7], {.momentum = 0.9, .nesterov = true, .clip = 0.9});
        ops::bop_step(state[3], on(g), state[8], {.gamma = 0.3, .threshold = 0.01});
        ops::average_step(state[4], on(g), 0.999);
      }
      return state;
    };
    const auto expected = run([](const Tensor& t) { return t; });
    const auto actual = run(there);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      SCOPED_TRACE(i);
      expect_equal(actual[i], expected[i]);
    }
  }
}

TEST_F(CudaTraining, AttackStepsAndStartsAreTheCpusBitForBit) {
  for (const Shape& shape :
       std::vector<Shape>{{0, 3}, {3, 0}, {1, 1}, {2, 3}, {5, 28, 28, 1}, {3, 129}, {7, 1030}}) {
    SCOPED_TRACE(to_string(shape));
    const Tensor x = floats(shape, 1, 0, 1);
    const Tensor origin = floats(shape, 2, 0, 1);
    const Tensor g = host(test::awkward_tensor(shape, 3));
    const auto run = [&](auto on) {
      return std::vector{ops::attack_step(on(x), on(g), on(origin), 0.02, 0.3),
                         ops::attack_uniform_start(on(origin), 0.2, 0.1, 7, 2, (1ULL << 32) - 2),
                         ops::attack_sign_start(on(origin), 0.05, 0.1, 7, 2, (1ULL << 32) - 2)};
    };
    const auto expected = run([](const Tensor& t) { return t; });
    const auto actual = run(there);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      SCOPED_TRACE(i);
      expect_equal(actual[i], expected[i]);
    }
    EXPECT_EQ(ops::count_flippable(there(x), 0.05, 3), ops::count_flippable(x, 0.05, 3));
    EXPECT_EQ(ops::count_invalid_pixels(there(g)), ops::count_invalid_pixels(g));
    const auto p = ops::perturbation(there(x), there(origin), 0.3);
    const auto q = ops::perturbation(x, origin, 0.3);
    EXPECT_EQ(p.outside, q.outside);
    EXPECT_EQ(p.max, q.max);
    EXPECT_NEAR(p.sum, q.sum, q.sum * 1e-13);
  }
}

TEST_F(CudaTraining, EuclideanAttacksAreTheCpusButForTheLastPlaceOfDoubles) {
  for (const Shape& shape :
       std::vector<Shape>{{0, 3}, {3, 0}, {1, 1}, {2, 3}, {5, 28, 28, 1}, {3, 257}, {3, 1030}}) {
    SCOPED_TRACE(to_string(shape));
    const Tensor x = floats(shape, 1, 0, 1);
    const Tensor g = floats(shape, 2);
    const Tensor origin = floats(shape, 3, 0, 1);
    for (const double epsilon : {0.0, 1e-6, 0.5, 1e10}) {
      expect_close(ops::attack_step_l2(there(x), there(g), there(origin), 0.3, epsilon),
                   ops::attack_step_l2(x, g, origin, 0.3, epsilon));
      expect_close(ops::attack_uniform_start_l2(there(origin), epsilon, 7, 2, 100),
                   ops::attack_uniform_start_l2(origin, epsilon, 7, 2, 100));
    }
    expect_close(ops::row_distances(there(x), there(origin)), ops::row_distances(x, origin));
  }
}

}  // namespace
}  // namespace hardbit
