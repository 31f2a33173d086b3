#include "cpu/discretize.h"

#include "cpu/kernels/table.h"
#include "runtime/threads.h"

namespace hardbit::cpu {

void discretize(const float* x, std::uint8_t* codes, std::int64_t n, int bits) {
  const BitKernels& kernels = selected_bit_kernels();
  parallel_for(n, element_grain, [&](std::int64_t begin, std::int64_t end) {
    kernels.discretize(x + begin, end - begin, bits, codes + begin);
  });
}

void codes_to_float(const std::uint8_t* codes, float* x, std::int64_t n, int bits) {
  const BitKernels& kernels = selected_bit_kernels();
  parallel_for(n, element_grain, [&](std::int64_t begin, std::int64_t end) {
    kernels.codes_to_float(codes + begin, end - begin, bits, x + begin);
  });
}

}  // namespace hardbit::cpu
