#include "cpu/kernels/pool_loops.h"

namespace hardbit::cpu {

constinit const PoolKernels pool_avx2 = pool_row<32>("pool_avx2", Isa::avx2);

}  // namespace hardbit::cpu
