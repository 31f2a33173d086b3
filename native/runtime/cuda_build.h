#pragma once

// HARDBIT_CUDA: 1 where the CUDA back end, or its emulation, is part of this build.
#ifndef HARDBIT_CUDA
#define HARDBIT_CUDA 0
#endif

namespace hardbit {

inline constexpr bool cuda_built = HARDBIT_CUDA != 0;

}  // namespace hardbit
