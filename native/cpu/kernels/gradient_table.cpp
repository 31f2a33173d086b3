#include <vector>

#include "cpu/kernels/gradient.h"
#include "cpu/kernels/select.h"

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
  static const GradientKernels& selected = select_row(gradient_kernels());
  return selected;
}

}  // namespace hardbit::cpu
