#pragma once
// The tensor cores' instructions on bits and bytes, and what feeds them: each a thin wrapper for nvcc, and
// the same by exchanges between lanes for the emulation. Layouts are the PTX ISA's, with g = lane / 4 and t =
// lane % 4:
//
//     A, 16 rows × 32 bytes   a[0]: row g, bytes 4t … 4t+3      a[2]: row g, bytes 16+4t …
//                             a[1]: row g+8, bytes 4t …         a[3]: row g+8, bytes 16+4t …
//     B, 8 columns × 32 bytes b0: column g, bytes 4t …          b1: column g, bytes 16+4t …
//     C, 16 × 8 sums          c[0], c[1]: row g, columns 2t, 2t+1   c[2], c[3]: the same of row g+8
//
// As bits, 32 bytes of k are 256 of them, in the order of the words' bits.

#include <cstdint>

#include "cuda/kernel.h"

namespace hardbit::cuda {

#ifdef __CUDACC__

/// c += popcount(a & b) over 256 bits of k. (xor.popc is a called emulation on Hopper; AND is not.)
__device__ inline void mma_bits(int (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// c += a·b over 32 bytes of k, a unsigned and b signed.
__device__ inline void mma_bytes(int (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                 std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// The same, both signed.
__device__ inline void mma_signed_bytes(int (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                        std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Four matrices of 8 rows × 16 bytes of shared memory: lane l brings the address of row l % 8 of matrix l /
/// 8, 16-byte aligned, and receives in r[i] bytes 4t … 4t+3 of row g of matrix i.
__device__ inline void load_matrices(std::uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row))));
}

/// Copies `bytes` (4, 8 or 16, to which both are aligned) to shared memory, or fills it with zeros where
/// `there` is false, in the background: it is there behind copies_wait() and a barrier. Keeps what it read in
/// L1.
template <int bytes>
__device__ inline void copy_async(void* shared, const void* from, bool there) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(shared))),
               "l"(from), "n"(bytes), "r"(there ? bytes : 0));
}
/// This thread's copies since the last call are a group.
__device__ inline void copies_commit() { asm volatile("cp.async.commit_group;"); }
/// Waits until at most the last `pending` groups of this thread are under way.
template <int pending>
__device__ inline void copies_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

#else

namespace emulation {

/// c += Σ over 8 words of k of product(word of a, word of b), with the layouts above.
template <class F>
void mma(const char* operation, int (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
         const F& product) {
  const Lane mine{{a[0], a[1], a[2], a[3], b0, b1}};
  const unsigned g = lane_id() / 4;
  const unsigned t = lane_id() % 4;
  exchange(all_lanes, operation, mine, [&](const Lane* lanes) {
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned column = 2 * t + i % 2;
      auto sum = static_cast<std::uint32_t>(c[i]);
      for (unsigned word = 0; word < 8; ++word) {
        const std::uint32_t x = lanes[4 * g + word % 4].words[i / 2 + word / 4 * 2];
        const std::uint32_t y = lanes[4 * column + word % 4].words[4 + word / 4];
        sum += static_cast<std::uint32_t>(product(x, y));
      }
      c[i] = static_cast<int>(sum);
    }
  });
}

}  // namespace emulation

inline void mma_bits(int (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  emulation::mma("mma.b1", c, a, b0, b1,
                 [](std::uint32_t x, std::uint32_t y) { return std::popcount(x & y); });
}

inline void mma_bytes(int (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  emulation::mma("mma.u8.s8", c, a, b0, b1, [](std::uint32_t x, std::uint32_t y) {
    int sum = 0;
    for (int i = 0; i < 32; i += 8) {
      sum += static_cast<std::uint8_t>(x >> i) * static_cast<std::int8_t>(y >> i);
    }
    return sum;
  });
}

inline void mma_signed_bytes(int (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  emulation::mma("mma.s8.s8", c, a, b0, b1, [](std::uint32_t x, std::uint32_t y) {
    int sum = 0;
    for (int i = 0; i < 32; i += 8)
      sum += static_cast<std::int8_t>(x >> i) * static_cast<std::int8_t>(y >> i);
    return sum;
  });
}

inline void load_matrices(std::uint32_t (&r)[4], const void* row) {
  emulation::check_aligned("ldmatrix", row, 16);
  emulation::Lane mine{};
  std::memcpy(&mine, &row, sizeof row);
  const unsigned g = emulation::lane_id() / 4;
  const unsigned t = emulation::lane_id() % 4;
  emulation::exchange(all_lanes, "ldmatrix", mine, [&](const emulation::Lane* lanes) {
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned char* from = nullptr;
      std::memcpy(&from, &lanes[8 * i + g], sizeof from);
      std::memcpy(&r[i], from + 4 * t, 4);
    }
  });
}

template <int bytes>
void copy_async(void* shared, const void* from, bool there) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
  emulation::copy_async(shared, from, bytes, there);
}
inline void copies_commit() { emulation::copies_commit(); }
template <int pending>
void copies_wait() {
  emulation::copies_wait(pending);
}

#endif

}  // namespace hardbit::cuda
