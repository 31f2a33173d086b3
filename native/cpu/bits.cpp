#include "cpu/bits.h"

#include "cpu/kernels/table.h"
#include "runtime/tensor.h"
#include "runtime/threads.h"

namespace hardbit::cpu {

void pack_signs(const float* x, std::uint64_t* bits, std::int64_t rows, std::int64_t columns) {
  const BitKernels& kernels = selected_bit_kernels();
  parallel_for(rows, rows_grain(columns), [&](std::int64_t begin, std::int64_t end) {
    kernels.pack_signs(x + begin * columns, end - begin, columns, bits + begin * words(columns));
  });
}

void unpack_signs(const std::uint64_t* bits, float* x, std::int64_t rows, std::int64_t columns) {
  const BitKernels& kernels = selected_bit_kernels();
  parallel_for(rows, rows_grain(columns), [&](std::int64_t begin, std::int64_t end) {
    kernels.unpack_signs(bits + begin * words(columns), end - begin, columns, x + begin * columns);
  });
}

}  // namespace hardbit::cpu
