#include <vector>

#include "cpu/kernels/sign_sum.h"

namespace hardbit::cpu {

std::span<const SignSumKernels> sign_sum_kernels() {
  static const std::vector<SignSumKernels> rows = {
    sign_sum_generic,
#if defined(__x86_64__)
    sign_sum_avx2,
    sign_sum_avx512,
#endif
  };
  return rows;
}

const SignSumKernels* selected_sign_sum() {
  static const SignSumKernels* const selected = []() -> const SignSumKernels* {
    const SignSumKernels* best = nullptr;
    for (const SignSumKernels& row : sign_sum_kernels()) {
      if (row.isa != Isa::generic && row.isa <= selected_isa()) best = &row;
    }
    return best;
  }();
  return selected;
}

}  // namespace hardbit::cpu
