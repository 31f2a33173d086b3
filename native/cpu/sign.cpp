#include "cpu/sign.h"

#include "cpu/bits.h"
#include "cpu/kernels/table.h"
#include "runtime/tensor.h"
#include "runtime/threads.h"

namespace hardbit::cpu {

void sign_forward(const float* x, std::uint64_t* signs, std::uint64_t* mask, std::int64_t rows,
                  std::int64_t columns) {
  const BitKernels& kernels = selected_bit_kernels();
  parallel_for(rows, rows_grain(columns), [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t word = begin * words(columns);
    kernels.sign_forward(x + begin * columns, end - begin, columns, signs + word, mask + word);
  });
}

void mask_backward(const float* dy, const std::uint64_t* mask, float* dx, std::int64_t rows,
                   std::int64_t columns) {
  const BitKernels& kernels = selected_bit_kernels();
  parallel_for(rows, rows_grain(columns), [&](std::int64_t begin, std::int64_t end) {
    kernels.mask_backward(dy + begin * columns, mask + begin * words(columns), end - begin, columns,
                          dx + begin * columns);
  });
}

void approx_sign_backward(const float* dy, const float* x, float* dx, std::int64_t n) {
  const BitKernels& kernels = selected_bit_kernels();
  parallel_for(n, element_grain, [&](std::int64_t begin, std::int64_t end) {
    kernels.approx_sign_backward(dy + begin, x + begin, end - begin, dx + begin);
  });
}

}  // namespace hardbit::cpu
