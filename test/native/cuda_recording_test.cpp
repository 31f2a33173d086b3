#include <thread>

#include "bit_cases.h"
#include "cuda/recording.h"
#include "ops/binary_gradient.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/optimizer.h"
#include "ops/pool2d.h"
#include "support.h"

// Operators that are recorded and run again, on a GPU or its emulation.

namespace hardbit {
namespace {

using test::bytes;
using test::expect_error;

class CudaRecording : public testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    if (cuda::driver::devices(reason).empty()) GTEST_SKIP() << reason;
  }
};

Tensor there(const Tensor& x) { return x.to(Device::cuda); }

Tensor on_gpu(const std::vector<float>& x) {
  return Tensor::from_host(DType::f32, {static_cast<std::int64_t>(x.size())}, x.data(), Device::cuda);
}

Tensor floats(Shape shape, std::uint32_t seed) {
  const auto x = test::random_floats(element_count(shape), seed);
  return Tensor::from_host(DType::f32, std::move(shape), x.data(), Device::cuda);
}

TEST_F(CudaRecording, RecordedOperatorsRunAgain) {
  const Tensor x = on_gpu({1, 2, 3});
  const Tensor total = Tensor::zeros(DType::f32, {3}, Device::cuda);
  cuda::RecordedGraph graph;
  {
    cuda::Recording recording;
    const Tensor twice = ops::add(x, x);  // lives in memory of the graph
    ops::axpy(total, 1, twice);
    graph = recording.finish();
  }
  EXPECT_EQ(test::values<float>(total), (std::vector<float>{0, 0, 0}));  // nothing ran yet
  for (int i = 0; i < 3; ++i) {
    graph.run();
    // Others' memory is not the graph's.
    const Tensor other = ops::add(x, x);
    EXPECT_EQ(test::values<float>(other), (std::vector<float>{2, 4, 6}));
  }
  EXPECT_EQ(test::values<float>(total), (std::vector<float>{6, 12, 18}));
  const std::vector<float> again = {10, 20, 30};
  x.write_host(again.data());
  graph.run();
  EXPECT_EQ(test::values<float>(total), (std::vector<float>{26, 52, 78}));
}

TEST_F(CudaRecording, UploadedTensorsMayGoWhileOperatorsAreRecorded) {
  const std::vector<float> x = {1, 2, 3};
  Tensor uploaded = on_gpu(x);
  {
    cuda::Recording recording;
    uploaded = Tensor();
    recording.finish();
  }
  // Into the same memory, behind its last use.
  for (int i = 0; i < 3; ++i) EXPECT_EQ(test::values<float>(on_gpu(x)), x);
}

TEST_F(CudaRecording, RecordedGraphsKeepTheirMemory) {
  const Tensor x = on_gpu(std::vector<float>(1000, 1));
  const Tensor total = Tensor::zeros(DType::f32, {1000}, Device::cuda);
  cuda::RecordedGraph graph;
  {
    cuda::Recording recording;
    ops::axpy(total, 1, ops::add(x, x));
    graph = recording.finish();
  }
  cuda::empty_cache();
  std::vector<Tensor> others;
  for (int i = 0; i < 8; ++i) others.push_back(Tensor::zeros(DType::f32, {1000}, Device::cuda));
  graph.run();
  EXPECT_EQ(test::values<float>(total), std::vector<float>(1000, 2));
  for (const Tensor& other : others) EXPECT_EQ(test::values<float>(other), std::vector<float>(1000, 0));
}

TEST_F(CudaRecording, OtherThreadsAreNotRecorded) {
  const Tensor x = on_gpu({1, 2, 3});
  const Tensor total = Tensor::zeros(DType::f32, {3}, Device::cuda);
  cuda::RecordedGraph graph;
  {
    cuda::Recording recording;
    ops::axpy(total, 1, x);
    std::thread([&] {
      ops::axpy(total, 10, x);
      EXPECT_EQ(test::values<float>(ops::add(x, on_gpu({1, 1, 1}))), (std::vector<float>{2, 3, 4}));
    }).join();
    graph = recording.finish();
  }
  EXPECT_EQ(test::values<float>(total), (std::vector<float>{10, 20, 30}));
  graph.run();
  EXPECT_EQ(test::values<float>(total), (std::vector<float>{11, 22, 33}));
}

TEST_F(CudaRecording, RecordingsRefuseTheHost) {
  const Tensor x = on_gpu({1, 2, 3});
  {
    cuda::Recording recording;
    expect_error("ERR_HARDBIT_UNSUPPORTED", [&] { test::values<float>(x); });
    expect_error("ERR_HARDBIT_UNSUPPORTED", [&] { on_gpu({1}); });
    expect_error("ERR_HARDBIT_ARGUMENT", [] { cuda::Recording another; });
  }
  EXPECT_EQ(test::values<float>(x), (std::vector<float>{1, 2, 3}));  // and all is as before
  cuda::RecordedGraph graph;
  {
    cuda::Recording recording;
    graph = recording.finish();
  }
  {
    cuda::Recording recording;
    expect_error("ERR_HARDBIT_UNSUPPORTED", [&] { graph.run(); });
  }
  graph.run();
}

/// Weights under all optimizers, and what those remember.
struct Optimized {
  std::vector<Tensor> state;

  explicit Optimized(std::int64_t n) {
    for (int i = 0; i < 6; ++i) {
      state.push_back(i < 3 ? floats({n}, 1) : Tensor::zeros(DType::f32, {n}, Device::cuda));
    }
  }
  void step(const Tensor& g, std::int64_t step, double factor) const {
    ops::adam_step(state[0], g, state[3], state[4],
                   {.learning_rate = 0.01 * factor, .step = step, .weight_decay = 0.1, .clip = 0.9});
    ops::sgd_step(state[1], g, nullptr, {.learning_rate = 0.1 * factor, .weight_decay = 0.01});
    ops::sgd_step(state[2], g, &state[5], {.learning_rate = 0.3 * factor, .momentum = 0.9, .nesterov = true});
  }
};

TEST_F(CudaRecording, OptimizersTakeTheStepAndTheRateOfTheRun) {
  struct Step {
    std::int64_t step;
    double factor;
  };
  const std::vector<Step> steps = {{3, 1}, {4, 0.7}, {5, 0}, {6, 1.0 / 3}, {3, 1}, {1'000'000, 1e-5}};
  for (const std::int64_t n : {1, 255, 5001}) {
    const Tensor g = floats({n}, 2);
    const Optimized expected(n);
    const Optimized actual(n);
    cuda::RecordedGraph graph;
    {
      cuda::Recording recording;
      actual.step(g, 3, 1);
      graph = recording.finish();
    }
    // Nobody waits for a run before the next one is asked for.
    for (const auto& [step, factor] : steps) {
      expected.step(g, step, factor);
      graph.run({.steps = step - 3, .rate_factor = factor});
    }
    for (std::size_t i = 0; i < expected.state.size(); ++i) {
      ASSERT_EQ(bytes(actual.state[i]), bytes(expected.state[i])) << i;
    }
  }
}

TEST_F(CudaRecording, AnyNumberOfOperandsVaries) {
  constexpr std::size_t count = cuda::Slots::part_words + 40;  // of one to two words each
  std::vector<Tensor> expected;
  std::vector<Tensor> actual;
  std::vector<Tensor> moments;
  for (std::size_t i = 0; i < count; ++i) {
    const float start = static_cast<float>(i);
    for (auto* const all : {&expected, &actual}) all->push_back(on_gpu({start}));
    for (int k = 0; k < 4; ++k) moments.push_back(Tensor::zeros(DType::f32, {1}, Device::cuda));
  }
  const Tensor g = on_gpu({0.5F});
  const auto step = [&](const std::vector<Tensor>& weights, std::size_t moment, std::int64_t made) {
    for (std::size_t i = 0; i < count; ++i) {
      const double rate = 0.001 * static_cast<double>(i);
      if (i % 3 == 0) {
        ops::sgd_step(weights[i], g, nullptr, {.learning_rate = rate});
      } else {
        ops::adam_step(weights[i], g, moments[4 * i + moment], moments[4 * i + moment + 1],
                       {.learning_rate = rate, .step = made + 1});
      }
    }
  };
  cuda::RecordedGraph graph;
  {
    cuda::Recording recording;
    step(actual, 0, 0);
    graph = recording.finish();
  }
  for (std::int64_t made = 0; made < 3; ++made) {
    step(expected, 2, made);
    graph.run({.steps = made});
  }
  for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(bytes(actual[i]), bytes(expected[i])) << i;
}

TEST_F(CudaRecording, WhatVariesIsNotWhereOtherOperatorsWork) {
  const Tensor g = floats({2 * cuda::Slots::part_words}, 1);
  const Optimized expected(g.count());
  const Optimized actual(g.count());
  cuda::RecordedGraph graph;
  {
    cuda::Recording recording;
    ops::add(g, g);  // whose memory is as large as that of what varies, and free again
    actual.step(g, 1, 1);
    graph = recording.finish();
  }
  for (std::int64_t step = 1; step < 4; ++step) {
    expected.step(g, step, 0.5);
    graph.run({.steps = step - 1, .rate_factor = 0.5});
  }
  for (std::size_t i = 0; i < expected.state.size(); ++i) {
    ASSERT_EQ(bytes(actual.state[i]), bytes(expected.state[i])) << i;
  }
}

/// Everything that draws by the number of steps made before, in shapes that reach each of its kernels.
class Draws {
 public:
  std::vector<Tensor> at(std::uint64_t step) const {
    std::vector<Tensor> out;
    for (const Tensor& x : {fours_, odd_}) {
      const auto [y, mask] = ops::dropout(x, 0.4, 3, 4, step);
      out.push_back(y);
      out.push_back(mask);
    }
    for (const Tensor& dy : {whole_, fours_, odd_}) {
      for (const auto by : {ops::QuantizedBy::sample, ops::QuantizedBy::channel}) {
        out.push_back(ops::quantize_gradient(dy, by, 127, 3, 5, step).codes);
      }
    }
    const ops::GradientOptions int8{ops::GradientArithmetic::int8, 3, 6, step};
    for (const Pooled& p : pooled_) {
      out.push_back(ops::binary_conv2d_pool_backward_input(p.dy, p.pooling, p.planes, {1}, 1.0, {4, 4},
                                                           {1, 1}, {}, int8));
      out.push_back(ops::binary_conv2d_pool_backward_weight(p.dy, p.pooling, images_, std::nullopt, {1, 1},
                                                            {}, ops::PaddingValue::zero, int8));
    }
    return out;
  }

 private:
  struct Pooled {
    Tensor dy;
    ops::MaxPooling pooling;
    Tensor planes;

    explicit Pooled(std::int64_t channels)
        : dy(floats({2, 2, 2, channels}, 6)),
          pooling{{.kernel = {2, 2}, .stride = {2, 2}}, there(test::random_codes({2, 2, 2, channels}, 2, 7))},
          planes(there(test::random_bits({channels, 24}, 8))) {}
  };
  Tensor whole_ = floats({3, 256}, 1);
  Tensor fours_ = floats({5, 48}, 2);
  Tensor odd_ = floats({9, 7}, 3);
  Tensor images_ = there(test::random_bits({2, 4, 4, 24}, 4));
  std::vector<Pooled> pooled_{Pooled(128), Pooled(16), Pooled(18)};
};

TEST_F(CudaRecording, DrawsAreThoseOfTheStepOfTheRun) {
  const Draws draws;
  std::vector<Tensor> recorded;
  cuda::RecordedGraph graph;
  {
    cuda::Recording recording;
    recorded = draws.at(7);
    graph = recording.finish();
  }
  std::vector<std::vector<unsigned char>> before(recorded.size());
  for (const std::int64_t steps :
       {std::int64_t{0}, std::int64_t{1}, std::int64_t{1} << 33, std::int64_t{-7}}) {
    graph.run({.steps = steps});
    const auto expected = draws.at(7 + static_cast<std::uint64_t>(steps));
    for (std::size_t i = 0; i < recorded.size(); ++i) {
      SCOPED_TRACE(i);
      ASSERT_EQ(bytes(recorded[i]), bytes(expected[i]));
      EXPECT_NE(bytes(recorded[i]), before[i]);
      before[i] = bytes(recorded[i]);
    }
  }
}

}  // namespace
}  // namespace hardbit
