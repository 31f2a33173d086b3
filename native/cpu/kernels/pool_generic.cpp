#include "cpu/kernels/pool_loops.h"

namespace hardbit::cpu {

// Vectors that every 64-bit processor has: the compiler takes wider ones apart element by element.
constinit const PoolKernels pool_generic = pool_row<16>("pool_generic", Isa::generic);

}  // namespace hardbit::cpu
