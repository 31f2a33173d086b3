#include "cpu/kernels/pool_loops.h"

namespace hardbit::cpu {

constinit const PoolKernels pool_avx512 = pool_row<64>("pool_avx512", Isa::avx512bw);

}  // namespace hardbit::cpu
