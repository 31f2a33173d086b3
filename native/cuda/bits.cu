#include "cuda/bits.h"
#include "cuda/pack_bits.h"

namespace hardbit::cuda {

void pack_signs(const float* x, std::uint64_t* bits, std::int64_t rows, std::int64_t columns) {
  pack_bits<1>(
      rows, columns,
      [=] __device__(std::int64_t row, std::int64_t column) {
        return x[row * columns + column] >= 0.0F ? 1U : 0U;
      },
      bits);
}

void unpack_signs(const std::uint64_t* bits, float* x, std::int64_t rows, std::int64_t columns) {
  const std::int64_t row_words = words(columns);
  for_each_element(rows, columns, [=] __device__(std::int64_t row, std::int64_t column, std::int64_t i) {
    x[i] = bit_at(bits, row_words, row, column) ? 1.0F : -1.0F;
  });
}

void repack_bits(const std::uint64_t* x, std::int64_t x_columns, std::uint64_t* y, std::int64_t rows,
                 std::int64_t columns) {
  const std::int64_t from_words = words(x_columns);
  const std::int64_t to_words = words(columns);
  for_each(rows * to_words, [=] __device__(std::int64_t i) {
    const std::int64_t row = i / to_words;
    const std::int64_t begin = i % to_words * 64;
    const std::int64_t end = begin + 64 < columns ? begin + 64 : columns;
    std::uint64_t word = 0;
    for (std::int64_t column = begin; column < end;) {
      const std::int64_t from = row * columns + column;
      const std::int64_t at = from % x_columns;
      // As many bits as lie in one word of x and of y.
      std::int64_t count = 64 - at % 64;
      if (count > x_columns - at) count = x_columns - at;
      if (count > end - column) count = end - column;
      const std::uint64_t found = x[from / x_columns * from_words + at / 64] >> (at % 64);
      const std::uint64_t kept = count == 64 ? found : found & ((std::uint64_t{1} << count) - 1);
      word |= kept << (column - begin);
      column += count;
    }
    y[i] = word;
  });
}

}  // namespace hardbit::cuda
