#include "cuda/bits.h"
#include "cuda/kernel.h"
#include "cuda/pack_bits.h"

namespace hardbit::cuda {

namespace {

struct Sign {
  struct Channel {};
  template <int V>
  __device__ OfVector<Channel, V> channels(unsigned) const {
    return {};
  }
  __device__ unsigned operator()(float x, Channel) const { return x >= 0 ? 1U : 0U; }
};

}  // namespace

void pack_signs(const float* x, std::uint64_t* bits, std::int64_t rows, std::int64_t columns) {
  pack_elements<1>(x, rows, columns, Sign(), bits);
}

void unpack_signs(const std::uint64_t* bits, float* x, std::int64_t rows, std::int64_t columns) {
  map_bits(nullptr, bits, x, rows, columns, [] __device__(float, bool plus) { return plus ? 1.0F : -1.0F; });
}

void repack_bits(const std::uint64_t* x, std::int64_t x_columns, std::uint64_t* y, std::int64_t rows,
                 std::int64_t columns) {
  const std::int64_t from_words = words(x_columns);
  const std::int64_t to_words = words(columns);
  for_each(rows * to_words, [=] __device__(std::int64_t i) {
    const Place to = place_of(i, to_words);
    const std::int64_t first = to.column * 64;
    const int width = static_cast<int>(columns - first < 64 ? columns - first : 64);
    Place from = place_of(to.row * columns + first, x_columns);
    std::uint64_t bits = 0;
    for (int done = 0; done < width;) {
      // As many bits as lie in one word of x.
      const int shift = static_cast<int>(from.column % 64);
      const std::int64_t left = x_columns - from.column;
      int count = left < 64 - shift ? static_cast<int>(left) : 64 - shift;
      if (count > width - done) count = width - done;
      const std::uint64_t word = x[from.row * from_words + from.column / 64] >> shift;
      bits |= (word & (~std::uint64_t{0} >> (64 - count))) << done;
      done += count;
      from.column += count;
      if (from.column == x_columns) from = {from.row + 1, 0};
    }
    y[i] = bits;
  });
}

}  // namespace hardbit::cuda
