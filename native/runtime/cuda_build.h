#pragma once

// HARDBIT_CUDA: 1 where the CUDA back end, or its emulation, is part of this build, else 0. CMakeLists.txt
// tells those files that choose between back ends, and no others.
#ifndef HARDBIT_CUDA
#error "CMakeLists.txt does not tell this file whether there is a CUDA back end (the list named choosing)."
#endif

namespace hardbit {

inline constexpr bool cuda_built = HARDBIT_CUDA != 0;

}  // namespace hardbit
