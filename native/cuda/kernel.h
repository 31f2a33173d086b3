#pragma once
// What kernel sources include: the language of kernels, by nvcc or by the emulation (emulation/kernel.h), and
// how they are started.
//
// Kernels are compiled without contraction, like all of hardbit; sums that may be fused say so (__fmaf_rn).
// constexpr functions of the rest of the library may be called in them.

#include <cstdint>
#include <utility>

#include "cuda/recording.h"
#include "cuda/runtime.h"

#ifdef __CUDACC__
#include <cuda_runtime.h>
#else
#include "cuda/emulation/kernel.h"
#endif

namespace hardbit::cuda {

inline constexpr unsigned all_lanes = 0xFFFFFFFFU;

template <class T>
constexpr T ceil_div(T a, T b) {
  return (a + b - 1) / b;
}

#ifdef __CUDACC__

namespace driver {
/// Where this thread's work goes: the compute queue, or what it is recording.
cudaStream_t compute_stream();
/// Throws what became of a launch.
void check_launch();
}  // namespace driver

/// Queues `kernel` on `grid` blocks of `block` threads with `shared` bytes of dynamic shared memory; nothing
/// for an empty grid.
template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared, A... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (shared > 48 * 1024) {
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
  }
  kernel<<<grid, block, shared, driver::compute_stream()>>>(static_cast<P>(arguments)...);
  driver::check_launch();
}

/// The block's dynamic shared memory, 16-byte aligned.
template <class T>
__device__ inline T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char hardbit_dynamic_shared[];
  return reinterpret_cast<T*>(hardbit_dynamic_shared);
}

#else

template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared, A... arguments) {
  emulation::launch(grid, block, shared, [=] { kernel(static_cast<P>(arguments)...); });
}

template <class T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(emulation::dynamic_shared_memory());
}

#endif

/// What is for the run that the kernel is part of.
template <class T>
__device__ inline T value_of(const Varying<T>& operand) {
  return operand.slot != nullptr ? *operand.slot : operand.value;
}

/// Tells the host about contents that no operand may have; `words` is report_words().
__device__ inline void report(std::uint32_t* words, Report what) {
  *static_cast<volatile std::uint32_t*>(words + static_cast<std::uint32_t>(what)) = 1;
}

// -- elementwise

template <class F>
__global__ void __launch_bounds__(256) each_kernel(std::int64_t n, F f) {
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride)
    f(i);
}

/// f(i) for all i below n, in any order: for_each(n, [=] __device__(std::int64_t i) { y[i] = …; }).
template <class F>
void for_each(std::int64_t n, F f) {
  constexpr std::int64_t most_blocks = 1 << 20;
  const std::int64_t blocks = ceil_div<std::int64_t>(n, 256);
  launch(each_kernel<F>, dim3(static_cast<unsigned>(blocks < most_blocks ? blocks : most_blocks)), dim3(256),
         0, n, f);
}

/// Row and column of element i of rows of `columns`: by a 32-bit division where that is enough, which takes a
/// fraction of the other's time.
struct Place {
  std::int64_t row, column;
};
__device__ inline Place place_of(std::int64_t i, std::int64_t columns) {
  if ((i | columns) >> 32 == 0) {
    const std::uint32_t row = static_cast<std::uint32_t>(i) / static_cast<std::uint32_t>(columns);
    return {row, static_cast<std::uint32_t>(i) - row * static_cast<std::uint32_t>(columns)};
  }
  return {i / columns, i % columns};
}

// -- sums, in an order that depends on n alone

/// Of T over a block of 256 threads, in thread 0: by halves, so in one order.
template <class T, class Combine>
__device__ inline T reduce_block(T value, Combine combine, T* shared) {
  const unsigned t = threadIdx.x;
  shared[t] = value;
  __syncthreads();
  for (unsigned half = 128; half > 0; half /= 2) {
    if (t < half) shared[t] = combine(shared[t], shared[t + half]);
    __syncthreads();
  }
  return shared[0];
}

inline constexpr std::int64_t reduce_grain = 4096;

template <class T, class Term, class Combine>
__global__ void __launch_bounds__(256)
    reduce_kernel(std::int64_t n, std::int64_t grain, T zero, Term term, Combine combine, T* partial) {
  T* const shared = dynamic_shared<T>();
  const std::int64_t begin = blockIdx.x * grain;
  const std::int64_t end = begin + grain < n ? begin + grain : n;
  T value = zero;
  for (std::int64_t i = begin + threadIdx.x; i < end; i += 256) value = combine(value, term(i));
  value = reduce_block(value, combine, shared);
  if (threadIdx.x == 0) partial[blockIdx.x] = value;
}

template <class T>
struct Values {
  const T* values;
  __device__ T operator()(std::int64_t i) const { return values[i]; }
};

/// result[0] ← combine over term(i), i below n, from `zero` on; T of at most 32 bytes. Queued, like a kernel.
template <class T, class Term, class Combine>
void reduce(std::int64_t n, T zero, Term term, Combine combine, T* result) {
  const std::int64_t parts = ceil_div(n > 0 ? n : 1, reduce_grain);
  if (parts == 1) {
    launch(reduce_kernel<T, Term, Combine>, dim3(1), dim3(256), 256 * sizeof(T), n, reduce_grain, zero, term,
           combine, result);
    return;
  }
  const Scratch<T> partial(parts);
  launch(reduce_kernel<T, Term, Combine>, dim3(static_cast<unsigned>(parts)), dim3(256), 256 * sizeof(T), n,
         reduce_grain, zero, term, combine, partial.data());
  launch(reduce_kernel<T, Values<T>, Combine>, dim3(1), dim3(256), 256 * sizeof(T), parts, parts, zero,
         Values<T>{partial.data()}, combine, result);
}

/// The same, waited for.
template <class T, class Term, class Combine>
T reduced(std::int64_t n, T zero, Term term, Combine combine) {
  const Scratch<T> result(1);
  reduce(n, zero, term, combine, result.data());
  return download_value(result.data());
}

struct Plus {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

}  // namespace hardbit::cuda
