#include "cpu/bits.h"

#include <algorithm>

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

void repack_bits(const std::uint64_t* x, std::int64_t x_columns, std::uint64_t* y, std::int64_t rows,
                 std::int64_t columns) {
  const std::int64_t from_words = words(x_columns);
  const std::int64_t to_words = words(columns);
  parallel_for(rows, rows_grain(columns), [=](std::int64_t begin, std::int64_t end) {
    std::int64_t row = begin * columns / x_columns;
    std::int64_t at = begin * columns % x_columns;  // the next bit of that row of x
    for (std::int64_t r = begin; r < end; ++r) {
      std::uint64_t* const to = y + r * to_words;
      std::fill_n(to, to_words, 0);
      for (std::int64_t done = 0; done < columns;) {
        // As many bits as lie in one word on both sides.
        const std::int64_t count = std::min({64 - at % 64, x_columns - at, 64 - done % 64, columns - done});
        const std::uint64_t word = x[row * from_words + at / 64] >> (at % 64);
        const std::uint64_t kept = count == 64 ? word : word & ((std::uint64_t{1} << count) - 1);
        to[done / 64] |= kept << (done % 64);
        done += count;
        at += count;
        if (at == x_columns) {
          at = 0;
          ++row;
        }
      }
    }
  });
}

}  // namespace hardbit::cpu
