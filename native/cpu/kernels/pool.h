#pragma once
#include <cstdint>
#include <span>

#include "runtime/cpu_features.h"

// Included by files that are compiled for one instruction set each: plain data and declarations only.

namespace hardbit::cpu {

/// Windows side by side in a line of an image [H, W, C], each with the same places inside it.
struct PoolWindows {
  std::int64_t count;
  /// Elements from a window to the next one.
  std::int64_t step;
  std::int64_t channels;
  /// Of one window: at least 1.
  std::int64_t places;
  /// [places]: the element of the first window's place and channel 0.
  const std::int64_t* element;
  /// [places], ascending: a place's name in an index.
  const std::uint8_t* place;
};

/// The kernels of max pooling for one instruction set. All give the same bits.
struct PoolKernels {
  const char* name;
  Isa isa;
  /// y[count][channels] = the largest value of each window, the first NaN before all; index[count][channels]
  /// = the first place that holds it. `index` may be null.
  void (*max_f32)(const PoolWindows& windows, const float* x, float* y, std::uint8_t* index);
  void (*max_i16)(const PoolWindows& windows, const std::int16_t* x, std::int16_t* y, std::uint8_t* index);
  void (*max_i32)(const PoolWindows& windows, const std::int32_t* x, std::int32_t* y, std::uint8_t* index);
  /// Writes every place of every window, which must not overlap: dx = dy where index names the place, else
  /// +0.
  void (*spread)(const PoolWindows& windows, const float* dy, const std::uint8_t* index, float* dx);
};

/// Every row this build has, whether or not this CPU can run it, the plainest first.
std::span<const PoolKernels> pool_kernels();

/// The row the operators use: the last one of selected_isa(), or of a weaker one; picked once.
const PoolKernels& selected_pool_kernels();

// The rows, each defined beside its kernels.
extern const PoolKernels pool_generic;
#if defined(__x86_64__)
extern const PoolKernels pool_avx2;
extern const PoolKernels pool_avx512;
#endif

}  // namespace hardbit::cpu
