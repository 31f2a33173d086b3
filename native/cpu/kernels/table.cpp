#include "cpu/kernels/table.h"

#include <string>
#include <vector>

#include "runtime/error.h"

namespace hardbit::cpu {
namespace {

// The last row of the selected ISA, or of the next weaker one that has any.
template <class Row>
const Row& select(std::span<const Row> rows) {
  const std::span<const Isa> isas = available_isas();
  for (auto isa = isas.rbegin(); isa != isas.rend(); ++isa) {
    if (*isa > selected_isa()) continue;
    for (auto row = rows.rbegin(); row != rows.rend(); ++row) {
      if (row->isa == *isa) return *row;
    }
  }
  throw Error("ERR_HARDBIT_ISA", std::string("This build has no bit kernels for '") + name(selected_isa()) +
                                     "'; set HARDBIT_ISA=generic or rebuild for this machine.");
}

}  // namespace

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
  static const BitKernels& row = select(bit_kernels());
  return row;
}

}  // namespace hardbit::cpu
