#include "cpu/kernels/table.h"

#include <string>
#include <vector>

#include "runtime/error.h"

namespace hardbit::cpu {
namespace {

// The last row of the selected ISA.
template <class Row>
const Row& select(std::span<const Row> rows) {
  const Isa isa = selected_isa();
  for (auto row = rows.rbegin(); row != rows.rend(); ++row) {
    if (row->isa == isa) return *row;
  }
  throw Error("ERR_HARDBIT_ISA", std::string("This build has no bit kernels for '") + name(isa) +
                                     "'; set HARDBIT_ISA=generic or rebuild for this machine.");
}

}  // namespace

std::span<const Bgemm> bgemm_kernels() {
  static const std::vector<Bgemm> rows = {
    bgemm_4x4_generic,
#if defined(__x86_64__)
    bgemm_4x8_avx2,
    bgemm_8x24_avx512,
#endif
#if defined(__aarch64__)
    bgemm_4x8_neon,
#endif
  };
  return rows;
}

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

const Bgemm& selected_bgemm() {
  static const Bgemm& row = select(bgemm_kernels());
  return row;
}

const BitKernels& selected_bit_kernels() {
  static const BitKernels& row = select(bit_kernels());
  return row;
}

}  // namespace hardbit::cpu
