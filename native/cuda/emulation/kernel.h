#pragma once
// The language of kernels for an ordinary C++ compiler: the words that nvcc knows by itself, and the
// functions that a thread of the GPU has. A block runs as fibers, one a thread, on the calling thread
// (fibers.h).

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(n) alignas(n)
// Fibers of one system thread share it, as a block's threads do.
#define __shared__ static thread_local

struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned width = 1, unsigned height = 1, unsigned depth = 1)  // NOLINT: as CUDA's own
      : x(width), y(height), z(depth) {}
};
struct int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace hardbit::cuda::emulation {

/// Runs `body` as every thread of every block, blocks one after the other, or records that while capturing.
/// Throws std::logic_error where threads of a block wait for each other in vain.
void launch(dim3 grid, dim3 block, std::size_t shared, std::function<void()> body);

/// The place of the fiber that runs.
struct Place {
  uint3 thread, block;
  dim3 block_size, grid_size;
};
extern thread_local Place place;

unsigned char* dynamic_shared_memory();
/// Waits for all threads of the block.
void block_barrier();
/// Waits for so many threads of the block that come to the same barrier.
void part_barrier(unsigned barrier, unsigned threads);
/// Lets the other threads run until something holds that they bring about.
void wait_until(std::function<bool()> holds);

/// What a lane lays open to the others of its warp.
struct Lane {
  std::uint32_t words[8];
};
/// Waits until all lanes of `mask` are here with the same `operation`, then calls `read` with what each of
/// them brought.
void exchange(unsigned mask, const char* operation, const Lane& mine,
              const std::function<void(const Lane* lanes)>& read);
unsigned lane_id();

/// The asynchronous copies of a thread: each arrives at once, or as late as its wait allows, at random, so
/// that both a missing wait and a place still in use show.
void copy_async(void* to, const void* from, unsigned bytes, bool there);
void copies_commit();
void copies_wait(unsigned pending);
/// An address that `operation` would refuse is the kernel's mistake.
void check_aligned(const char* operation, const void* address, unsigned bytes);

template <class T>
T shuffle(unsigned mask, const char* operation, T value, unsigned source) {
  static_assert(sizeof(T) <= sizeof(Lane));
  Lane mine{};
  std::memcpy(&mine, &value, sizeof value);
  T result = value;
  exchange(mask, operation, mine, [&](const Lane* lanes) {
    if (source < 32 && (mask >> source & 1) != 0) std::memcpy(&result, &lanes[source], sizeof result);
  });
  return result;
}

}  // namespace hardbit::cuda::emulation

#define threadIdx (::hardbit::cuda::emulation::place.thread)
#define blockIdx (::hardbit::cuda::emulation::place.block)
#define blockDim (::hardbit::cuda::emulation::place.block_size)
#define gridDim (::hardbit::cuda::emulation::place.grid_size)
inline constexpr int warpSize = 32;

// -- within a block and a warp

inline void __syncthreads() { hardbit::cuda::emulation::block_barrier(); }
inline void __syncwarp(unsigned mask = 0xFFFFFFFFU) {
  hardbit::cuda::emulation::exchange(mask, "__syncwarp", {}, [](const hardbit::cuda::emulation::Lane*) {});
}
inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const unsigned lane = hardbit::cuda::emulation::lane_id();
  const unsigned base = lane / static_cast<unsigned>(width) * static_cast<unsigned>(width);
  return hardbit::cuda::emulation::shuffle(
      mask, "__shfl_sync", value, base + static_cast<unsigned>(source) % static_cast<unsigned>(width));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  const unsigned lane = hardbit::cuda::emulation::lane_id();
  const unsigned source = lane ^ static_cast<unsigned>(bits);
  const auto w = static_cast<unsigned>(width);
  return hardbit::cuda::emulation::shuffle(mask, "__shfl_xor_sync", value,
                                           source / w > lane / w ? lane : source);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = hardbit::cuda::emulation::lane_id();
  const auto w = static_cast<unsigned>(width);
  return hardbit::cuda::emulation::shuffle(mask, "__shfl_down_sync", value,
                                           lane % w + delta < w ? lane + delta : lane);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = hardbit::cuda::emulation::lane_id();
  const auto w = static_cast<unsigned>(width);
  return hardbit::cuda::emulation::shuffle(mask, "__shfl_up_sync", value,
                                           lane % w >= delta ? lane - delta : lane);
}
inline unsigned __ballot_sync(unsigned mask, bool predicate) {
  unsigned votes = 0;
  hardbit::cuda::emulation::Lane mine{};
  mine.words[0] = predicate ? 1 : 0;
  hardbit::cuda::emulation::exchange(mask, "__ballot_sync", mine, [&](const auto* lanes) {
    for (unsigned lane = 0; lane < 32; ++lane) {
      if ((mask >> lane & 1) != 0 && lanes[lane].words[0] != 0) votes |= 1U << lane;
    }
  });
  return votes;
}
inline bool __any_sync(unsigned mask, bool predicate) { return __ballot_sync(mask, predicate) != 0; }
inline bool __all_sync(unsigned mask, bool predicate) { return __ballot_sync(mask, predicate) == mask; }

// -- memory. Fibers change places only where they wait, so reading and writing is never torn.

template <class T, class U>
T atomicAdd(T* place, U value) {
  const T before = *place;
  *place = static_cast<T>(before + static_cast<T>(value));
  return before;
}
template <class T, class U>
T atomicMax(T* place, U value) {
  const T before = *place;
  *place = std::max(before, static_cast<T>(value));
  return before;
}
template <class T, class U>
T atomicMin(T* place, U value) {
  const T before = *place;
  *place = std::min(before, static_cast<T>(value));
  return before;
}
template <class T, class U>
T atomicOr(T* place, U value) {
  const T before = *place;
  *place = before | static_cast<T>(value);
  return before;
}
template <class T>
T atomicCAS(T* place, T expected, T value) {
  const T before = *place;
  if (before == expected) *place = value;
  return before;
}
template <class T>
T __ldg(const T* place) {
  return *place;
}

// -- numbers

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline unsigned __umulhi(unsigned x, unsigned y) { return static_cast<unsigned>(std::uint64_t{x} * y >> 32); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline unsigned __brev(unsigned x) {
  unsigned y = 0;
  for (int i = 0; i < 32; ++i) y |= (x >> i & 1) << (31 - i);
  return y;
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const std::uint64_t both = std::uint64_t{y} << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned s = selector >> (4 * i) & 0xF;
    unsigned byte = static_cast<unsigned>(both >> (8 * (s & 7))) & 0xFF;
    if ((s & 8) != 0) byte = (byte & 0x80) != 0 ? 0xFF : 0;
    result |= byte << (8 * i);
  }
  return result;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((std::uint64_t{high} << 32 | low) >> (shift & 31));
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((std::uint64_t{high} << 32 | low) << (shift & 31) >> 32);
}
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline int __float2int_rz(float x) { return static_cast<int>(x); }
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; ++i) {
    c += static_cast<std::int8_t>(a >> (8 * i)) * static_cast<std::int8_t>(b >> (8 * i));
  }
  return c;
}
inline int __dp4a(unsigned a, int b, int c) = delete;  // mixed signs have no such form on the GPU

using std::max;
using std::min;
