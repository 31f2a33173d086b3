#include <vector>

#include "cpu/kernels/pool.h"
#include "cpu/kernels/select.h"

namespace hardbit::cpu {

std::span<const PoolKernels> pool_kernels() {
  static const std::vector<PoolKernels> rows = {
    pool_generic,
#if defined(__x86_64__)
    pool_avx2,
    pool_avx512,
#endif
  };
  return rows;
}

const PoolKernels& selected_pool_kernels() {
  static const PoolKernels& selected = select_row(pool_kernels());
  return selected;
}

}  // namespace hardbit::cpu
