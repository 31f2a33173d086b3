#pragma once
#include <cstdint>

#include "cpu/kernels/table.h"

namespace hardbit::cpu {

/// The rows a product runs on; an argument so that tests and benchmarks go through the whole table.
struct Kernels {
  const Bgemm& bgemm;
  const BitKernels& bits;
};
inline Kernels selected_kernels() { return {selected_bgemm(), selected_bit_kernels()}; }

// Out: std::int16_t or std::int32_t, wide enough for every sum.

/// out [n, m] = Σ_k a·w for a [n, words(k)], w [m, words(k)] of ±1 bits.
template <class Out>
void binary_matmul(const Kernels& kernels, const std::uint64_t* a, const std::uint64_t* w, Out* out,
                   std::int64_t n, std::int64_t m, std::int64_t k);

/// out [n, m] = Σ_k codes·w for codes [n, k], w [m, words(k)]. Returns the OR of all codes; where that does
/// not fit into `bits`, out is left unwritten.
template <class Out>
int codes_matmul(const Kernels& kernels, const std::uint8_t* codes, int bits, const std::uint64_t* w,
                 Out* out, std::int64_t n, std::int64_t m, std::int64_t k);

}  // namespace hardbit::cpu
