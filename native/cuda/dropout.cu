#include <cmath>

#include "cuda/dropout.h"
#include "cuda/pack_bits.h"

namespace hardbit::cuda {

void dropout_mask(const Philox& philox, std::uint32_t stream, std::uint64_t step, double rate,
                  std::uint64_t* mask, std::int64_t rows, std::int64_t columns) {
  const auto dropped = static_cast<std::uint64_t>(std::llround(rate * 0x1p32));
  const std::int64_t row_words = words(columns);
  const Philox random = philox;
  for_each(rows * row_words, [=] __device__(std::int64_t i) {
    const std::int64_t row = i / row_words;
    const std::int64_t column = i % row_words * 64;
    const int width = static_cast<int>(columns - column < 64 ? columns - column : 64);
    const auto first = static_cast<std::uint64_t>(row * columns + column);
    Philox::Block block = random.row_block(static_cast<std::uint32_t>(first / 4), step, stream);
    std::uint64_t bits = 0;
    for (int k = 0; k < width; ++k) {
      const std::uint64_t draw = first + static_cast<std::uint64_t>(k);
      if (k > 0 && draw % 4 == 0)
        block = random.row_block(static_cast<std::uint32_t>(draw / 4), step, stream);
      bits |= static_cast<std::uint64_t>(block[draw % 4] >= dropped ? 1 : 0) << k;
    }
    mask[i] = bits;
  });
}

void apply_dropout(const float* x, const std::uint64_t* mask, double rate, float* y, std::int64_t rows,
                   std::int64_t columns) {
  const std::int64_t row_words = words(columns);
  const double kept = 1 - rate;
  for_each_element(rows, columns, [=] __device__(std::int64_t row, std::int64_t column, std::int64_t i) {
    const float v = bit_at(mask, row_words, row, column) ? x[i] : 0.0F;
    y[i] = static_cast<float>(static_cast<double>(v) / kept);
  });
}

}  // namespace hardbit::cuda
