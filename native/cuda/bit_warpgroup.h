#pragma once
// Products of bits by a warpgroup, four warps whose first is a multiple of four, from shared memory: on
// Hopper (sm_90a) by wgmma, elsewhere by the mma.sync of each warp, on the same operands and with the same
// sums in the same registers. start(), commit(), finish() and publish() of wgmma.h hold for them too.

#include <cstdint>

#include "cuda/wgmma.h"

namespace hardbit::cuda {

inline constexpr int warpgroup_threads = 128;
inline constexpr int warpgroup_rows = 64;

/// An operand of 256 bits of k: rows of two 16-byte pieces. Eight rows' pieces follow each other, 128 bytes;
/// from there on, in units of 16 bytes, it is `eights` to the next eight rows' and `pieces` to the second
/// piece of a row. Starts at any multiple of 16 bytes. Kept as wgmma's descriptor has it (PTX ISA, "Matrix
/// Descriptor Format", no swizzle), so that another place and another distance are one addition.
struct BitOperand {
  /// The place in units of 16 bytes, and `pieces` from bit 16 on.
  std::uint32_t place;
  std::uint32_t eights;

  /// `offset`: such a place, relative.
  __device__ BitOperand moved(std::uint32_t offset) const { return {place + offset, eights}; }
};
/// What moved() takes: so many pieces on, with another distance of the pieces.
constexpr std::uint32_t bit_offset(std::uint32_t units, std::uint32_t pieces) { return units | pieces << 16; }

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

__device__ inline BitOperand bit_operand(const unsigned char* start, std::uint32_t eights,
                                         std::uint32_t pieces) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(start));
  return {bit_offset(address >> 4, pieces), eights};
}
__device__ inline std::uint64_t descriptor(const BitOperand& o) {
  return static_cast<std::uint64_t>(o.eights) << 32 | o.place;
}

#define HARDBIT_SUMS4(i) "+r"(d[i]), "+r"(d[i + 1]), "+r"(d[i + 2]), "+r"(d[i + 3])
#define HARDBIT_SUMS16(i) HARDBIT_SUMS4(i), HARDBIT_SUMS4(i + 4), HARDBIT_SUMS4(i + 8), HARDBIT_SUMS4(i + 12)

__device__ inline void wgmma_bits(int (&d)[32], std::uint64_t a, std::uint64_t b, int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k256.s32.b1.b1.and.popc "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, %32, %33, p; }"
      : HARDBIT_SUMS16(0), HARDBIT_SUMS16(16)
      : "l"(a), "l"(b), "r"(accumulate)
      : "memory");
}
__device__ inline void wgmma_bits(int (&d)[64], std::uint64_t a, std::uint64_t b, int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k256.s32.b1.b1.and.popc "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, p; }"
      : HARDBIT_SUMS16(0), HARDBIT_SUMS16(16), HARDBIT_SUMS16(32), HARDBIT_SUMS16(48)
      : "l"(a), "l"(b), "r"(accumulate)
      : "memory");
}
// The same with A in registers.
__device__ inline void wgmma_bits(int (&d)[32], const std::uint32_t (&a)[4], std::uint64_t b,
                                  int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k256.s32.b1.b1.and.popc "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, p; }"
      : HARDBIT_SUMS16(0), HARDBIT_SUMS16(16)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate)
      : "memory");
}
__device__ inline void wgmma_bits(int (&d)[56], const std::uint32_t (&a)[4], std::uint64_t b,
                                  int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %61, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n112k256.s32.b1.b1.and.popc "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55}, {%56, %57, %58, %59}, %60, p; }"
      : HARDBIT_SUMS16(0), HARDBIT_SUMS16(16), HARDBIT_SUMS16(32), HARDBIT_SUMS4(48), HARDBIT_SUMS4(52)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate)
      : "memory");
}
__device__ inline void wgmma_bits(int (&d)[64], const std::uint32_t (&a)[4], std::uint64_t b,
                                  int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k256.s32.b1.b1.and.popc "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, p; }"
      : HARDBIT_SUMS16(0), HARDBIT_SUMS16(16), HARDBIT_SUMS16(32), HARDBIT_SUMS16(48)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate)
      : "memory");
}
#undef HARDBIT_SUMS16
#undef HARDBIT_SUMS4

/// sums += popcount(a & b) over 256 bits of k, or =, whatever they were, where `accumulate` is 0; in the
/// background. sums[4·i + e] of a lane, with g = lane / 4 and t = lane % 4, is that of row 16·warp + g +
/// 8·(e / 2) and column 8·i + 2·t + e % 2.
template <int columns>
__device__ inline void multiply_bits(int (&sums)[columns / 2], const BitOperand& a, const BitOperand& b,
                                     int accumulate) {
  wgmma_bits(sums, descriptor(a), descriptor(b), accumulate);
}
/// The same with A in registers: a[0] and a[1] of a lane are bits 32·t … 32·t + 31 of rows 16·warp + g and
/// + g + 8, a[2] and a[3] those 128 bits on.
template <int columns>
__device__ inline void multiply_bits(int (&sums)[columns / 2], const std::uint32_t (&a)[4],
                                     const BitOperand& b, int accumulate) {
  wgmma_bits(sums, a, descriptor(b), accumulate);
}

/// Keeps what the sums are from being moved over what comes before or after.
template <int n>
__device__ inline void settle_sums(int (&sums)[n]) {
#pragma unroll
  for (int i = 0; i < n; ++i) asm volatile("" : "+r"(sums[i])::"memory");
}

#else

/// From the block's dynamic shared memory on.
__device__ inline BitOperand bit_operand(const unsigned char* start, std::uint32_t eights,
                                         std::uint32_t pieces) {
  return {bit_offset(static_cast<std::uint32_t>(start - dynamic_shared<unsigned char>()) / 16, pieces),
          eights};
}

/// Where row or column lane % 8 of the so many-th eight of an operand lies, a piece of it.
__device__ inline const unsigned char* place_of(const BitOperand& o, int eight, int piece) {
  const auto lane = static_cast<int>(threadIdx.x % 32);
  return dynamic_shared<unsigned char>() +
         ((o.place & 0xFFFF) + eight * o.eights + piece * (o.place >> 16) + lane % 8) * 16;
}

template <int columns>
__device__ inline void multiply_bits(int (&sums)[columns / 2], const std::uint32_t (&x)[4],
                                     const BitOperand& b, int accumulate) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  if (accumulate == 0) {
#pragma unroll
    for (int i = 0; i < columns / 2; ++i) sums[i] = 0;
  }
  // The two pieces of eight columns, then those of the next eight.
  const unsigned char* const w = place_of(b, lane / 16, lane / 8 % 2);
#pragma unroll
  for (int i = 0; i < columns / 8; i += 2) {
    std::uint32_t y[4];
    load_matrices(y, w + i * b.eights * 16);
    int(&first)[4] = *reinterpret_cast<int(*)[4]>(sums + 4 * i);
    int(&second)[4] = *reinterpret_cast<int(*)[4]>(sums + 4 * i + 4);
    mma_bits(first, x, y[0], y[1]);
    mma_bits(second, x, y[2], y[3]);
  }
}

template <int columns>
__device__ inline void multiply_bits(int (&sums)[columns / 2], const BitOperand& a, const BitOperand& b,
                                     int accumulate) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32 % 4);
  // The first and second eight rows, first their first pieces.
  std::uint32_t x[4];
  load_matrices(x, place_of(a, 2 * warp + lane / 8 % 2, lane / 16));
  multiply_bits<columns>(sums, x, b, accumulate);
}

template <int n>
__device__ inline void settle_sums(int (&)[n]) {}

#endif

}  // namespace hardbit::cuda
