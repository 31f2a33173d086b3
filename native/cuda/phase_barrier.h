#pragma once
// What warpgroups of a block that do different work tell each other by, on Hopper (sm_90a) and in the
// emulation: barriers in shared memory that some threads arrive at and others wait for, barriers of a part of
// the block, and registers that one warpgroup gives to the others.

#include <cstdint>

#include "cuda/kernel.h"

namespace hardbit::cuda {

/// In shared memory. A phase ends when as many threads have arrived as it was made for; phases count from 0.
struct PhaseBarrier {
  std::uint64_t state;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

__device__ inline unsigned shared_address(const PhaseBarrier& barrier) {
  return static_cast<unsigned>(__cvta_generic_to_shared(&barrier));
}
/// By one thread, before a barrier of the block.
__device__ inline void make_phases(PhaseBarrier& barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals)
               : "memory");
}
/// What this thread wrote before is seen by those who wait for the end of the phase.
__device__ inline void arrive(PhaseBarrier& barrier) {
  asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
}
/// Waits for the end of a phase: of the one under way or of the one before, which its number's parity tells
/// apart. Before phase 0 a phase of parity 1 has ended.
__device__ inline void wait(const PhaseBarrier& barrier, unsigned parity) {
  asm volatile(
      "{ .reg .pred ended;\n"
      "again: mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 ended, [%0], %1;\n"
      "@!ended bra again; }" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}
/// As __syncthreads(), of `threads` threads, whole warps, that name the same `barrier`, 1 … 15.
__device__ inline void sync_part(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
/// Keeps so many registers a thread, of the more or fewer that the kernel starts with; by a whole warpgroup.
template <int registers>
__device__ inline void shrink_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
__device__ inline void grow_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}

#elif defined(__CUDACC__)

// Other devices run no kernel that has warpgroups of different work.
__device__ inline void make_phases(PhaseBarrier&, int) {}
__device__ inline void arrive(PhaseBarrier&) {}
__device__ inline void wait(const PhaseBarrier&, unsigned) {}
__device__ inline void sync_part(int, int) {}
template <int registers>
__device__ inline void shrink_registers() {}
template <int registers>
__device__ inline void grow_registers() {}

#else

// The state: the number of the phase, arrivals still missing in it, and those of a whole phase.
inline void make_phases(PhaseBarrier& barrier, int arrivals) {
  barrier.state = static_cast<std::uint64_t>(arrivals) << 16 | static_cast<std::uint64_t>(arrivals);
}
inline void arrive(PhaseBarrier& barrier) {
  barrier.state -= std::uint64_t{1} << 16;
  if ((barrier.state >> 16 & 0xFFFF) != 0) return;
  barrier.state += (std::uint64_t{1} << 32) + ((barrier.state & 0xFFFF) << 16);
}
inline void wait(const PhaseBarrier& barrier, unsigned parity) {
  emulation::wait_until([&] { return (barrier.state >> 32 & 1) != parity; });
}
inline void sync_part(int barrier, int threads) {
  emulation::part_barrier(static_cast<unsigned>(barrier), static_cast<unsigned>(threads));
}
template <int registers>
void shrink_registers() {}
template <int registers>
void grow_registers() {}

#endif

}  // namespace hardbit::cuda
