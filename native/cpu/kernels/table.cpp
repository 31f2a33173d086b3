#include "cpu/kernels/table.h"

#include <vector>

#include "cpu/kernels/select.h"

namespace hardbit::cpu {

std::span<const BitKernels> bit_kernels() {
#if defined(__aarch64__)
  // NEON is part of the base architecture, so the compiler has vectorised the generic ones.
  BitKernels bit_kernels_neon = bit_kernels_generic;
  bit_kernels_neon.isa = Isa::neon;
#endif
  static const std::vector<BitKernels> rows = {
    bit_kernels_generic,
#if defined(__x86_64__)
    bit_kernels_avx2,
    bit_kernels_avx512,
#endif
#if defined(__aarch64__)
    bit_kernels_neon,
#endif
  };
  return rows;
}

const BitKernels& selected_bit_kernels() {
  static const BitKernels& row = select_row(bit_kernels());
  return row;
}

}  // namespace hardbit::cpu
