#include "cpu/dropout.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "cpu/bits.h"
#include "cpu/kernels/table.h"
#include "runtime/tensor.h"
#include "runtime/threads.h"

namespace hardbit::cpu {

void dropout_mask(const Philox& philox, std::uint32_t stream, std::uint64_t step, double rate,
                  std::uint64_t* mask, std::int64_t rows, std::int64_t columns) {
  const auto dropped = static_cast<std::uint64_t>(std::llround(rate * 0x1p32));
  parallel_for(rows, rows_grain(columns) / 8, [=](std::int64_t begin, std::int64_t end) {
    std::array<std::uint32_t, 68> draws;  // 64 draws begin anywhere in a block of four
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t column = 0; column < columns; column += 64) {
        const auto first = static_cast<std::uint64_t>(row * columns + column);
        const auto width = static_cast<std::size_t>(std::min<std::int64_t>(columns - column, 64));
        const std::size_t offset = first % 4;
        for (std::size_t b = 0; b * 4 < offset + width; ++b) {
          const Philox::Block block =
              philox.row_block(static_cast<std::uint32_t>(first / 4 + b), step, stream);
          std::copy(block.begin(), block.end(), draws.begin() + static_cast<std::ptrdiff_t>(b * 4));
        }
        std::uint64_t bits = 0;
        for (std::size_t i = 0; i < width; ++i)
          bits |= std::uint64_t{draws[offset + i] >= dropped ? 1U : 0U} << i;
        mask[row * words(columns) + column / 64] = bits;
      }
    }
  });
}

void apply_dropout(const float* x, const std::uint64_t* mask, double rate, float* y, std::int64_t rows,
                   std::int64_t columns) {
  const BitKernels& kernels = selected_bit_kernels();
  const double kept = 1 - rate;
  parallel_for(rows, rows_grain(columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      float* const out = y + row * columns;
      kernels.mask_backward(x + row * columns, mask + row * words(columns), 1, columns, out);
      for (std::int64_t c = 0; c < columns; ++c)
        out[c] = static_cast<float>(static_cast<double>(out[c]) / kept);
    }
  });
}

}  // namespace hardbit::cpu
