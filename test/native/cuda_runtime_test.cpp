#include <cstdlib>
#include <thread>

#include "cuda/runtime.h"
#include "ops/elementwise.h"
#include "support.h"

// Memory and copies of the CUDA back end, on a GPU or its emulation.

namespace hardbit {
namespace {

using test::expect_error;

class CudaRuntime : public testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    if (cuda::driver::devices(reason).empty()) GTEST_SKIP() << reason;
  }
};

Tensor on_gpu(const std::vector<float>& x) {
  return Tensor::from_host(DType::f32, {static_cast<std::int64_t>(x.size())}, x.data(), Device::cuda);
}

TEST_F(CudaRuntime, CopiesOfAllSizesComeBack) {
  // Around the pieces of four megabytes in which they go.
  for (const std::int64_t n : {0, 1, 1000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5'000'001}) {
    const auto x = test::random_floats(n, 7);
    const Tensor there = on_gpu(x);
    EXPECT_EQ(test::values<float>(there), x);
    EXPECT_EQ(test::values<float>(there.to(Device::cpu)), x);
    EXPECT_EQ(test::values<float>(there.clone()), x);
    EXPECT_EQ(there.to(Device::cpu).to(Device::cuda).device(), Device::cuda);
  }
}

TEST_F(CudaRuntime, PaddingOfBitsIsCleared) {
  const std::vector<std::uint64_t> ones(4, ~std::uint64_t{0});
  const Tensor x = Tensor::from_host(DType::bits, {2, 70}, ones.data(), Device::cuda);
  EXPECT_EQ(test::values<std::uint64_t>(x), (std::vector<std::uint64_t>{~0ULL, 63, ~0ULL, 63}));
  const Tensor empty = Tensor::empty(DType::bits, {2, 70}, Device::cuda);
  EXPECT_EQ(test::values<std::uint64_t>(empty)[1] >> 6, 0U);
}

TEST_F(CudaRuntime, BlocksAreReusedAndCounted) {
  cuda::empty_cache();
  const MemoryInfo before = cuda::memory_info();
  const void* first = nullptr;
  {
    const Tensor x = Tensor::zeros(DType::f32, {1000}, Device::cuda);
    first = x.raw();
    EXPECT_EQ(cuda::memory_info().live_blocks, before.live_blocks + 1);
    EXPECT_GE(cuda::memory_info().live_bytes, before.live_bytes + 4000);
  }
  EXPECT_EQ(cuda::memory_info().live_blocks, before.live_blocks);
  EXPECT_GT(cuda::memory_info().cached_bytes, 0U);
  EXPECT_EQ(Tensor::zeros(DType::f32, {990}, Device::cuda).raw(), first);
  cuda::empty_cache();
  EXPECT_EQ(cuda::memory_info().cached_bytes, 0U);
}

TEST_F(CudaRuntime, UploadsIntoReusedMemoryAreWhole) {
  for (int round = 0; round < 20; ++round) {
    const auto x = test::random_floats(100'000, static_cast<std::uint32_t>(round));
    const Tensor y = ops::add(on_gpu(x), on_gpu(x));
    auto expected = x;
    for (float& v : expected) v += v;
    ASSERT_EQ(test::values<float>(y), expected);
  }
}

TEST_F(CudaRuntime, OperandsOnDifferentDevicesAreRefused) {
  expect_error("ERR_HARDBIT_ARGUMENT", [] {
    ops::add(Tensor::zeros(DType::f32, {2}), Tensor::zeros(DType::f32, {2}, Device::cuda));
  });
}

TEST_F(CudaRuntime, ThreadsShareTheDevice) {
  std::vector<std::thread> threads;
  std::vector<std::vector<float>> results(4);
  for (std::size_t t = 0; t < results.size(); ++t) {
    threads.emplace_back([&, t] {
      const Tensor one = on_gpu(std::vector<float>(5000, 1.0F));
      Tensor sum = Tensor::zeros(DType::f32, {5000}, Device::cuda);
      for (std::size_t i = 0; i <= t; ++i) sum = ops::add(sum, one);
      results[t] = test::values<float>(sum);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t t = 0; t < results.size(); ++t) {
    EXPECT_EQ(results[t], std::vector<float>(5000, static_cast<float>(t + 1)));
  }
}

TEST_F(CudaRuntime, TooLargeAnAllocationSaysWhatWasFree) {
  if (std::getenv("HARDBIT_CUDA_MANAGED") != nullptr)
    GTEST_SKIP() << "the host's memory takes what is too much for the GPU's";
  const auto bytes = static_cast<std::int64_t>(cuda::driver::device().memory);
  try {
    Tensor::zeros(DType::u8, {bytes * 2}, Device::cuda);
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.code(), "ERR_HARDBIT_MEMORY");
    EXPECT_NE(std::string(error.what()).find("are free"), std::string::npos) << error.what();
  }
  EXPECT_EQ(test::values<float>(on_gpu({5})), (std::vector<float>{5}));
}

#ifdef HARDBIT_CUDA_EMULATION

class Setting {
 public:
  explicit Setting(const char* value) { setenv("HARDBIT_EMULATION", value, 1); }
  ~Setting() { unsetenv("HARDBIT_EMULATION"); }
};

TEST_F(CudaRuntime, WithoutADeviceTheSentenceSaysSo) {
  const Setting none("none");
  std::string reason;
  EXPECT_TRUE(cuda::driver::devices(reason).empty());
  EXPECT_FALSE(reason.empty());
  expect_error("ERR_HARDBIT_NO_CUDA", [] { Tensor::zeros(DType::f32, {1}, Device::cuda); });
  EXPECT_EQ(test::values<float>(Tensor::zeros(DType::f32, {1})), (std::vector<float>{0}));
}

TEST_F(CudaRuntime, ALostDeviceLeavesTheCpu) {
  const Tensor there = on_gpu({1, 2});
  {
    const Setting lost("lost");
    expect_error("ERR_HARDBIT_CUDA", [&] { ops::add(there, there); });
    expect_error("ERR_HARDBIT_CUDA", [&] { test::values<float>(there); });
    const Tensor here = Tensor::zeros(DType::f32, {2});
    EXPECT_EQ(test::values<float>(ops::add(here, here)), (std::vector<float>{0, 0}));
  }
}

TEST_F(CudaRuntime, MemoryRunsOutAndComesBack) {
  cuda::empty_cache();
  const MemoryInfo before = cuda::memory_info();
  const Setting little("2000000");
  {
    const Tensor half = Tensor::zeros(DType::u8, {900'000}, Device::cuda);
    expect_error("ERR_HARDBIT_MEMORY", [] { Tensor::zeros(DType::u8, {1'800'000}, Device::cuda); });
  }
  // What was cached goes back to the device first.
  Tensor::zeros(DType::u8, {1'700'000}, Device::cuda);
  EXPECT_EQ(cuda::memory_info().live_blocks, before.live_blocks);
  cuda::empty_cache();
}

#endif

}  // namespace
}  // namespace hardbit
