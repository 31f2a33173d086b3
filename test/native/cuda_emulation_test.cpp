#include <csignal>
#include <cstdlib>
#include <set>
#include <stdexcept>

#include "cuda/kernel.h"
#include "support.h"

// The emulation itself: that kernels that are right run, and kernels that are wrong are caught.

namespace hardbit::cuda {
namespace {

__global__ void rotate(const int* x, int* y, bool with_barrier) {
  __shared__ int shared[64];
  shared[threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
  if (with_barrier) __syncthreads();
  y[blockIdx.x * 64 + threadIdx.x] = shared[(threadIdx.x + 1) % 64];
  if (with_barrier) __syncthreads();
}

std::vector<int> rotated(bool with_barrier) {
  std::vector<std::int32_t> numbers(64 * 5);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<std::int32_t>(1000 + i);
  const Tensor x = Tensor::from_host(DType::i32, {64 * 5}, numbers.data(), Device::cuda);
  const Tensor y = Tensor::zeros(DType::i32, {64 * 5}, Device::cuda);
  launch(rotate, dim3(5), dim3(64), 0, x.data<int>(), y.data<int>(), with_barrier);
  return test::values<std::int32_t>(y);
}

TEST(CudaEmulation, BarriersOrderABlocksThreads) {
  const auto y = rotated(true);
  for (int i = 0; i < 64 * 5; ++i)
    EXPECT_EQ(y[static_cast<std::size_t>(i)], 1000 + i / 64 * 64 + (i + 1) % 64);
}

TEST(CudaEmulation, AMissingBarrierShows) { EXPECT_NE(rotated(false), rotated(true)); }

__global__ void put(int* x) { *x = 7; }

TEST(CudaEmulationDeathTest, TheHostCannotTouchGuardedMemory) {
  if (std::getenv("HARDBIT_EMULATION_GUARD") == nullptr) GTEST_SKIP() << "HARDBIT_EMULATION_GUARD is not set";
  const Tensor x = Tensor::zeros(DType::i32, {1}, Device::cuda);
  int* const number = x.data<int>();
  launch(put, dim3(1), dim3(1), 0, number);
  EXPECT_EQ(test::values<std::int32_t>(x), std::vector<std::int32_t>{7});
  const auto read = [number] { std::exit(*static_cast<volatile int*>(number)); };
  EXPECT_EXIT(read(), testing::KilledBySignal(SIGSEGV), "");
  EXPECT_EXIT(*static_cast<volatile int*>(number) = 1, testing::KilledBySignal(SIGSEGV), "");
}

__global__ void lanes(unsigned* out) {
  const unsigned lane = threadIdx.x % 32;
  unsigned* const mine = out + threadIdx.x * 7;
  mine[0] = __ballot_sync(all_lanes, lane % 3 == 0);
  mine[1] = __shfl_sync(all_lanes, lane * 10, 5);
  mine[2] = __shfl_xor_sync(all_lanes, lane, 4);
  mine[3] = __shfl_down_sync(all_lanes, lane, 2);
  mine[4] = __shfl_up_sync(all_lanes, lane, 1);
  // Half a warp by itself, in a loop of its own length.
  unsigned sum = lane;
  if (lane < 16) {
    for (int d = 8; d > 0; d /= 2) sum += __shfl_xor_sync(0xFFFFU, sum, d);
  }
  mine[5] = sum;
  mine[6] = __all_sync(all_lanes, threadIdx.x < 64) ? 1 : 0;
}

TEST(CudaEmulation, WarpsExchangeValues) {
  const Tensor y = Tensor::zeros(DType::i32, {96, 7}, Device::cuda);
  launch(lanes, dim3(1), dim3(96), 0, y.data<unsigned>());
  const auto out = test::values<std::int32_t>(y);
  unsigned ballot = 0;
  for (unsigned lane = 0; lane < 32; lane += 3) ballot |= 1U << lane;
  for (unsigned t = 0; t < 96; ++t) {
    const unsigned lane = t % 32;
    const auto* const mine = reinterpret_cast<const unsigned*>(out.data() + t * 7);
    EXPECT_EQ(mine[0], ballot);
    EXPECT_EQ(mine[1], 50U);
    EXPECT_EQ(mine[2], lane ^ 4U);
    EXPECT_EQ(mine[3], lane < 30 ? lane + 2 : lane);
    EXPECT_EQ(mine[4], lane == 0 ? 0 : lane - 1);
    EXPECT_EQ(mine[5], lane < 16 ? 120 : lane);
    EXPECT_EQ(mine[6], t < 64 ? 1U : 0U);
  }
}

__global__ void half_waits() {
  if (threadIdx.x < 20) __syncthreads();
}
__global__ void lanes_disagree() {
  if (threadIdx.x % 2 == 0) {
    __syncwarp();
  } else {
    __ballot_sync(all_lanes, true);
  }
}
__global__ void outside_its_mask() { __syncwarp(0xFFFFU); }

TEST(CudaEmulation, ThreadsThatWaitInVainAreAnError) {
  EXPECT_THROW(launch(half_waits, dim3(1), dim3(64), 0), std::logic_error);
  EXPECT_THROW(launch(lanes_disagree, dim3(1), dim3(32), 0), std::logic_error);
  EXPECT_THROW(launch(outside_its_mask, dim3(1), dim3(32), 0), std::logic_error);
  EXPECT_EQ(rotated(true).size(), 320U);  // and the next kernel runs
}

__global__ void everything(int* seen, int* shared_sum) {
  int* const memory = dynamic_shared<int>();
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  atomicAdd(&seen[block * 24 + thread], 1);
  memory[thread] = static_cast<int>(thread);
  __syncthreads();
  if (thread == 0) {
    int sum = 0;
    for (int i = 0; i < 24; ++i) sum += memory[i];
    shared_sum[block] = sum;
  }
}

TEST(CudaEmulation, EveryThreadOfEveryBlockRunsOnce) {
  const Tensor seen = Tensor::zeros(DType::i32, {2 * 3 * 5 * 24}, Device::cuda);
  const Tensor sums = Tensor::zeros(DType::i32, {30}, Device::cuda);
  launch(everything, dim3(2, 3, 5), dim3(4, 3, 2), 24 * sizeof(int), seen.data<int>(), sums.data<int>());
  for (const int count : test::values<std::int32_t>(seen)) EXPECT_EQ(count, 1);
  for (const int sum : test::values<std::int32_t>(sums)) EXPECT_EQ(sum, 276);
}

TEST(CudaEmulation, SumsOverManyBlocksAreWhole) {
  for (const std::int64_t n : {0, 1, 255, 256, 257, 4096, 4097, 1000003}) {
    const auto sum = reduced(
        n, std::int64_t{0}, [] __device__(std::int64_t i) { return i; }, Plus());
    EXPECT_EQ(sum, n * (n - 1) / 2) << n;
  }
}

}  // namespace
}  // namespace hardbit::cuda
