// Several threads of a process call operators at once, as Node's worker threads do. Every thread must get
// what one alone gets; under the thread sanitizer, no two of them may touch the same memory unordered.

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "ops/attack.h"
#include "ops/batch_norm.h"
#include "ops/binary_conv2d.h"
#include "ops/binary_matmul.h"
#include "ops/bits.h"
#include "ops/conv2d.h"
#include "ops/dense.h"
#include "ops/discretize.h"
#include "ops/pool2d.h"
#include "ops/random.h"
#include "ops/sign.h"

namespace hardbit {
namespace {

constexpr int callers = 4;
constexpr int rounds = 3;

/// Calls `work` on several threads at once; all results must equal the first caller's, byte for byte.
void expect_same(const std::function<Tensor()>& work) {
  const Tensor expected = work();
  std::vector<std::thread> threads;
  for (int t = 0; t < callers; ++t) {
    threads.emplace_back([&] {
      for (int round = 0; round < rounds; ++round) {
        const Tensor found = work();
        ASSERT_EQ(found.shape(), expected.shape());
        EXPECT_EQ(std::memcmp(found.raw(), expected.raw(), expected.byte_length()), 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

Tensor uniform(Shape shape) { return ops::random_uniform(std::move(shape), -1, 1, 5, 7); }

const ops::Conv2dGeometry padded{.stride = {1, 1}, .dilation = {1, 1}, .padding = {1, 1, 1, 1}, .groups = 1};

TEST(Concurrency, Products) {
  const Tensor x = uniform({33, 130});
  const Tensor w = uniform({65, 130});
  expect_same([&] { return ops::dense_forward(x, w, nullptr); });
  expect_same([&] { return ops::binary_matmul(ops::pack_signs(x), ops::pack_signs(w)); });
  expect_same([&] { return ops::codes_matmul(ops::discretize(x, 2), 2, ops::pack_signs(w)); });
}

TEST(Concurrency, Convolutions) {
  const Tensor x = uniform({4, 12, 12, 20});
  const Tensor w = uniform({24, 3, 3, 20});
  expect_same([&] { return ops::conv2d_forward(x, w, nullptr, padded); });
  const Tensor signs = ops::pack_signs(w.reshape({24, 180}));
  expect_same([&] {
    return ops::binary_conv2d(ops::pack_signs(x), signs, {3, 3}, padded, ops::PaddingValue::zero);
  });
}

TEST(Concurrency, NormalizationPoolingAndAttackSteps) {
  const Tensor x = uniform({8, 12, 12, 20});
  const Tensor one = uniform({20});
  expect_same([&] {
    return ops::batch_norm_train(x, 1, one, one, Tensor::zeros(DType::f32, {20}),
                                 Tensor::zeros(DType::f32, {20}), 0.1, 1e-5)
        .y;
  });
  expect_same([&] {
    return ops::max_pool2d(x, {.kernel = {2, 2}, .stride = {2, 2}, .padding = {0, 0, 0, 0}}, true).y;
  });
  expect_same([&] { return ops::attack_step(x, x, x, 0.1, 0.2); });
}

}  // namespace
}  // namespace hardbit
