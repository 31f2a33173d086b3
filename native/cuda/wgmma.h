#pragma once
// Products of bytes by a warpgroup, four warps: the left operand comes from registers, the right one from
// shared memory. By Hopper's wgmma in code for sm_90a, which runs behind the warpgroup's back, else by
// mma.sync at once; both read the same shared memory and leave the same sums in the same registers.
//
//     left, 64 rows × 32 bytes    a warp has 16 rows, in registers as mma.h's A
//     right, columns × 32 bytes   byte k of column n lies at
//                                 k / 16·k_step + n / 8·column_step + n % 8·16 + k % 16: eight columns lie
//                                 together, 16 bytes each, at any multiple of 16
//     sums, 64 × columns          a warp has its 16 rows: [column / 8] as mma.h's C
//
// Between start() and the finish<pending>() that waits for it, neither the sums nor the left operand may be
// written or read. Shared memory that the threads wrote is seen behind publish() and a barrier.

#include "cuda/mma.h"

namespace hardbit::cuda::warpgroup {

template <int columns>
using Sums = int[columns / 8][4];
using Left = std::uint32_t[4];

/// Whether products run behind the warpgroup's back.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
inline constexpr bool behind = true;
#else
inline constexpr bool behind = false;
#endif

/// As copy_async<16>(), but past L1: nobody near reads it again.
__device__ inline void copy_once(void* shared, const void* from, bool there) {
#ifdef __CUDACC__
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(shared))),
               "l"(from), "r"(there ? 16 : 0));
#else
  copy_async<16>(shared, from, there);
#endif
}

/// Keeps what the sums are from being moved over what comes before or after.
template <int n>
__device__ inline void settle([[maybe_unused]] int (&sums)[n][4]) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#pragma unroll
  for (int j = 0; j < n; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+r"(sums[j][i])::"memory");
  }
#endif
}
/// The registers of `left` are kept until here.
__device__ inline void keep([[maybe_unused]] const Left& left) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("" ::"r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]) : "memory");
#endif
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/// A right operand.
class Right {
 public:
  /// `k_step` and `column_step` in bytes, multiples of 16 below 2^18. As PTX's matrix descriptor without a
  /// swizzle, in units of 16 bytes: bits 0-13 the address, 16-29 the leading byte offset (k_step), 32-45 the
  /// stride byte offset (column_step).
  __device__ Right(const void* shared, int k_step, int column_step)
      : descriptor_(static_cast<std::uint64_t>((__cvta_generic_to_shared(shared) & 0x3FFFF) >> 4) |
                    static_cast<std::uint64_t>(k_step >> 4) << 16 |
                    static_cast<std::uint64_t>(column_step >> 4) << 32) {}
  /// The same, `bytes` further on.
  __device__ Right at(int bytes) const { return Right(descriptor_ + static_cast<std::uint64_t>(bytes >> 4)); }
  __device__ std::uint64_t descriptor() const { return descriptor_; }

 private:
  __device__ explicit Right(std::uint64_t descriptor) : descriptor_(descriptor) {}
  std::uint64_t descriptor_;
};

/// Products may start from here on: what registers hold is there.
__device__ inline void start() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
/// The products since the last call are a group.
__device__ inline void commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Waits until at most the last `pending` groups are under way.
template <int pending>
__device__ inline void finish() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}
/// What this thread wrote to shared memory is for products to read.
__device__ inline void publish() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Names and operands of sums in inline assembly.
#define HARDBIT_SUMS_8(c, j)                                                                            \
  c(sums[j][0]), c(sums[j][1]), c(sums[j][2]), c(sums[j][3]), c(sums[(j) + 1][0]), c(sums[(j) + 1][1]), \
      c(sums[(j) + 1][2]), c(sums[(j) + 1][3])
#define HARDBIT_SUMS_32(c, j) \
  HARDBIT_SUMS_8(c, j), HARDBIT_SUMS_8(c, (j) + 2), HARDBIT_SUMS_8(c, (j) + 4), HARDBIT_SUMS_8(c, (j) + 6)
#define HARDBIT_NAMES_32                                                        \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, " \
  "%17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define HARDBIT_NAMES_64                                                                    \
  HARDBIT_NAMES_32                                                                          \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, " \
  "%49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

#define HARDBIT_PRODUCT_64(types)                                                                       \
  asm volatile("{ .reg .pred p; setp.ne.b32 p, 1, 0; wgmma.mma_async.sync.aligned.m64n64k32.s32." types \
               " {" HARDBIT_NAMES_32 "}, {%32, %33, %34, %35}, %36, p; }"                               \
               : HARDBIT_SUMS_32("+r", 0)                                                               \
               : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "l"(right.descriptor())        \
               : "memory")
#define HARDBIT_PRODUCT_128(types)                                                                       \
  asm volatile("{ .reg .pred p; setp.ne.b32 p, 1, 0; wgmma.mma_async.sync.aligned.m64n128k32.s32." types \
               " {" HARDBIT_NAMES_64 "}, {%64, %65, %66, %67}, %68, p; }"                                \
               : HARDBIT_SUMS_32("+r", 0), HARDBIT_SUMS_32("+r", 8)                                      \
               : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "l"(right.descriptor())         \
               : "memory")

/// sums += left·right; `codes`: left is unsigned.
template <bool codes>
__device__ inline void multiply(Sums<64>& sums, const Left& left, const Right& right) {
  if constexpr (codes) {
    HARDBIT_PRODUCT_64("u8.s8");
  } else {
    HARDBIT_PRODUCT_64("s8.s8");
  }
}
template <bool codes>
__device__ inline void multiply(Sums<128>& sums, const Left& left, const Right& right) {
  if constexpr (codes) {
    HARDBIT_PRODUCT_128("u8.s8");
  } else {
    HARDBIT_PRODUCT_128("s8.s8");
  }
}

#undef HARDBIT_PRODUCT_64
#undef HARDBIT_PRODUCT_128
#undef HARDBIT_SUMS_8
#undef HARDBIT_SUMS_32
#undef HARDBIT_NAMES_32
#undef HARDBIT_NAMES_64

#else

class Right {
 public:
  __device__ Right(const unsigned char* shared, int k_step, int column_step)
      : shared_(shared), k_step_(k_step), column_step_(column_step) {}
  __device__ Right at(int bytes) const { return {shared_ + bytes, k_step_, column_step_}; }
  /// Where a lane's row of the four matrices of 16 columns begins (mma.h's load_matrices()).
  __device__ const unsigned char* row(int columns, unsigned lane) const {
    return shared_ + (columns + static_cast<int>(lane / 16)) * column_step_ +
           static_cast<int>(lane / 8 % 2) * k_step_ + static_cast<int>(lane % 8) * 16;
  }

 private:
  const unsigned char* shared_;
  int k_step_, column_step_;
};

__device__ inline void start() {}
__device__ inline void commit() {}
template <int pending>
__device__ inline void finish() {}
__device__ inline void publish() {}

template <bool codes, int n>
__device__ inline void multiply(int (&sums)[n][4], const Left& left, const Right& right) {
#pragma unroll
  for (int j = 0; j < n; j += 2) {
    std::uint32_t words[4];
    load_matrices(words, right.row(j, threadIdx.x % 32));
    if constexpr (codes) {
      mma_bytes(sums[j], left, words[0], words[1]);
      mma_bytes(sums[j + 1], left, words[2], words[3]);
    } else {
      mma_signed_bytes(sums[j], left, words[0], words[1]);
      mma_signed_bytes(sums[j + 1], left, words[2], words[3]);
    }
  }
}

#endif

}  // namespace hardbit::cuda::warpgroup
