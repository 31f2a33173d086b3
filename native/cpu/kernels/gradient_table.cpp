#include <vector>

#include "cpu/kernels/gradient.h"

namespace hardbit::cpu {

std::span<const GradientKernels> gradient_kernels() {
  static const std::vector<GradientKernels> rows = {
    gradient_generic,
#if defined(__x86_64__)
    gradient_avx2,
    gradient_avx512,
#endif
  };
  return rows;
}

const GradientKernels& selected_gradient_kernels() {
  static const GradientKernels& selected = []() -> const GradientKernels& {
    const GradientKernels* best = &gradient_kernels().front();
    for (const GradientKernels& row : gradient_kernels()) {
      bool present = false;
      for (const Isa isa : available_isas()) present = present || isa == row.isa;
      if (present && row.isa <= selected_isa()) best = &row;
    }
    return *best;
  }();
  return selected;
}

}  // namespace hardbit::cpu
