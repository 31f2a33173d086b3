#include <vector>

#include "cpu/kernels/pool.h"

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
  static const PoolKernels& selected = []() -> const PoolKernels& {
    const PoolKernels* best = &pool_kernels().front();
    for (const PoolKernels& row : pool_kernels()) {
      bool present = false;
      for (const Isa isa : available_isas()) present = present || isa == row.isa;
      if (present && row.isa <= selected_isa()) best = &row;
    }
    return *best;
  }();
  return selected;
}

}  // namespace hardbit::cpu
