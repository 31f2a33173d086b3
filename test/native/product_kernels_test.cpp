#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <deque>
#include <limits>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "cpu/kernels/product.h"
#include "guarded.h"
#include "runtime/cpu_features.h"

// Every row of product.h's tables that this CPU can run, against scalar loops. Windows, packed weights,
// tables and outputs end at inaccessible pages: a kernel that reads or writes one byte too many crashes.

namespace hardbit::cpu {

void PrintTo(const ProductKernel& row, std::ostream* stream) { *stream << row.name; }
void PrintTo(const FloatKernel& row, std::ostream* stream) { *stream << row.name; }

namespace {

using test::Guarded;

template <class Row>
std::vector<Row> runnable(std::span<const Row> all) {
  const std::span<const Isa> isas = available_isas();
  std::vector<Row> rows;
  for (const Row& row : all) {
    if (std::ranges::find(isas, row.isa) != isas.end()) rows.push_back(row);
  }
  return rows;
}

constexpr std::int32_t int32_min = std::numeric_limits<std::int32_t>::min();
constexpr std::int32_t int32_max = std::numeric_limits<std::int32_t>::max();

int rounded(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

enum class Values {
  random,
  /// The largest sums: every bit differs, every byte product is 255 · 64.
  largest,
  /// The smallest: no bit differs, every byte product is 255 · −64.
  smallest,
};

struct Case {
  int rows;
  int columns;
  std::int64_t segments;
  std::int64_t segment_words;
  int planes = 1;
  Values values = Values::random;
  /// Whole tiles of channels in front of those used.
  int tiles_before = 0;
  /// Words of a channel that no segment meets: in front of the first, between two, behind the last.
  std::int64_t first = 0;
  std::int64_t skip = 0;
  std::int64_t last = 0;

  std::int64_t met() const { return segments * segment_words; }
  std::int64_t rest() const { return first + std::max<std::int64_t>(segments - 1, 0) * skip + last; }
  /// Where word k of the window lies among a channel's.
  std::int64_t place(std::int64_t k) const { return first + k + k / segment_words * skip; }
};

std::ostream& operator<<(std::ostream& stream, const Case& c) {
  return stream << c.rows << " rows, " << c.columns << " columns, " << c.segments << " segments of "
                << c.segment_words << " words, " << c.planes << " planes, values "
                << static_cast<int>(c.values) << ", weights passed over " << c.first << ' ' << c.skip << ' '
                << c.last;
}

/// Windows whose runs overlap, lie in any order and at any byte; each row in memory of its own, which the
/// last byte of a run ends.
template <class Random>
class WindowMemory {
 public:
  WindowMemory(const Case& c, Random& random) {
    const auto run = static_cast<std::ptrdiff_t>(c.segment_words * 4);
    std::ptrdiff_t end = 0;
    for (std::int64_t s = 0; s < c.segments; ++s) {
      positions_.push_back(static_cast<std::ptrdiff_t>(random() % static_cast<std::uint64_t>(2 * run + 16)));
      end = std::max(end, positions_.back() + run);
    }
    pitch_ = static_cast<std::ptrdiff_t>(random() % static_cast<std::uint64_t>(2 * run + 16));
    const auto size = static_cast<std::size_t>(end + (c.planes - 1) * pitch_);
    const auto shift = static_cast<std::ptrdiff_t>(random() % 100) - 50;
    for (const std::ptrdiff_t position : positions_) offsets_.push_back(position + shift);
    for (int r = 0; r < c.rows; ++r) {
      std::uint8_t* const bytes = rows_.emplace_back(size).data();
      for (std::size_t i = 0; i < size; ++i) {
        bytes[i] = c.values == Values::random ? static_cast<std::uint8_t>(random()) : std::uint8_t{255};
      }
      x_.push_back(bytes - shift);
    }
  }

  Windows windows(const Case& c) const { return {x_.data(), offsets_.data(), c.segments, c.segment_words}; }
  std::ptrdiff_t pitch() const { return pitch_; }
  /// Word k of a plane of a row.
  std::uint32_t word(const Case& c, int row, int plane, std::int64_t k) const {
    std::uint32_t value;
    std::memcpy(&value,
                rows_[static_cast<std::size_t>(row)].data() +
                    positions_[static_cast<std::size_t>(k / c.segment_words)] + plane * pitch_ +
                    k % c.segment_words * 4,
                4);
    return value;
  }

 private:
  std::vector<std::ptrdiff_t> positions_;
  std::vector<std::ptrdiff_t> offsets_;
  std::ptrdiff_t pitch_;
  std::deque<Guarded<std::uint8_t>> rows_;
  std::vector<const std::uint8_t*> x_;
};

/// A vector in guarded memory for each row, and their addresses.
template <class T>
class PerRow {
 public:
  PerRow(int rows, int size) {
    for (int r = 0; r < rows; ++r)
      pointers_.push_back(memory_.emplace_back(static_cast<std::size_t>(size)).data());
  }
  T* operator[](int row) const { return pointers_[static_cast<std::size_t>(row)]; }
  T* const* get() const { return pointers_.data(); }
  std::vector<const T*> readable() const { return {pointers_.begin(), pointers_.end()}; }
  bool intact() const {
    return std::ranges::all_of(memory_, [](const auto& memory) { return memory.intact(); });
  }

 private:
  std::deque<Guarded<T>> memory_;
  std::vector<T*> pointers_;
};

class ProductKernelTest : public testing::TestWithParam<ProductKernel> {
 protected:
  std::mt19937_64 random{std::hash<std::string>{}(GetParam().name)};

  std::uint32_t weight(Values values) {
    if (GetParam().operand == Operand::bits) {
      if (values == Values::random) return static_cast<std::uint32_t>(random());
      return values == Values::largest ? 0 : ~std::uint32_t{0};
    }
    std::uint32_t word = 0;
    for (int shift = 0; shift < 32; shift += 8) {
      const int value = values == Values::random    ? static_cast<int>(random() % 129) - 64
                        : values == Values::largest ? 64
                                                    : -64;
      word |= static_cast<std::uint32_t>(static_cast<std::uint8_t>(value)) << shift;
    }
    return word;
  }

  /// What one word adds to a sum.
  std::int64_t term(std::uint32_t x, std::uint32_t w) const {
    if (GetParam().operand == Operand::bits) return std::popcount(x ^ w);
    std::int64_t sum = 0;
    for (int shift = 0; shift < 32; shift += 8) {
      sum += std::int64_t{static_cast<std::uint8_t>(x >> shift)} * static_cast<std::int8_t>(w >> shift);
    }
    return sum;
  }

  /// Thresholds on, below and above the sums, and the two that decide by themselves.
  std::int32_t threshold(std::int32_t sum) {
    switch (random() % 8) {
      case 0:
        return int32_min;
      case 1:
        return int32_max;
      case 2:
        return static_cast<std::int32_t>(random());
      default:
        return sum + static_cast<std::int32_t>(random() % 3) - 1;
    }
  }

  void check(const Case& c) {
    const ProductKernel& kernel = GetParam();
    const std::int64_t words = c.met() + c.rest();
    const std::int64_t before = std::int64_t{c.tiles_before} * kernel.nr;
    const std::int64_t channels = before + c.columns;

    Guarded<std::uint32_t> w(static_cast<std::size_t>(channels * words));
    for (std::size_t i = 0; i < w.size(); ++i) w.data()[i] = weight(c.values);
    Guarded<std::uint8_t> packed(kernel.packed_bytes(channels, words));
    kernel.pack(w.data(), channels, words, packed.data());
    ASSERT_TRUE(packed.intact()) << c;

    const WindowMemory memory(c, random);
    std::vector<std::int32_t> sums;  // [rows][columns]
    for (int r = 0; r < c.rows; ++r) {
      for (int col = 0; col < c.columns; ++col) {
        std::int64_t sum = 0;
        for (int p = 0; p < c.planes; ++p) {
          for (std::int64_t k = 0; k < c.met(); ++k) {
            sum += term(memory.word(c, r, p, k), w.data()[(before + col) * words + c.place(k)]) << p;
          }
        }
        sums.push_back(static_cast<std::int32_t>(sum));
      }
    }
    const auto sum_of = [&](int r, int col) { return sums[static_cast<std::size_t>(r * c.columns + col)]; };

    const ProductTile tile = {memory.windows(c),
                              c.planes,
                              memory.pitch(),
                              packed.data() + kernel.packed_bytes(before, words),
                              c.rows,
                              c.columns,
                              c.first,
                              c.skip,
                              c.rest()};
    check_bits(c, tile, sum_of);
    check_sums<std::int16_t>(c, tile, sum_of, kernel.store_i16);
    check_sums<std::int32_t>(c, tile, sum_of, kernel.store_i32);
    check_accumulation(c, tile, sum_of);
  }

  template <class Sum>
  void check_bits(const Case& c, const ProductTile& tile, const Sum& sum_of) {
    const PerRow<std::int32_t> thresholds(c.rows, rounded(c.columns, GetParam().lanes));
    for (int r = 0; r < c.rows; ++r) {
      for (int col = 0; col < c.columns; ++col) thresholds[r][col] = threshold(sum_of(r, col));
    }
    const int bytes = (c.columns + 7) / 8;
    const PerRow<std::uint8_t> out(c.rows, bytes);
    GetParam().store_bits(tile, {thresholds.readable().data(), out.get()});
    ASSERT_TRUE(out.intact()) << c;
    for (int r = 0; r < c.rows; ++r) {
      for (int col = 0; col < bytes * 8; ++col) {
        const bool expected = col < c.columns && sum_of(r, col) <= thresholds[r][col];
        ASSERT_EQ((out[r][col / 8] >> (col % 8) & 1) != 0, expected) << c << ": row " << r << " bit " << col;
      }
    }
  }

  template <class Out, class Sum>
  void check_sums(const Case& c, const ProductTile& tile, const Sum& sum_of,
                  void (*run)(const ProductTile&, const SumStore<Out>&)) {
    const PerRow<std::int32_t> offsets(c.rows, rounded(c.columns, GetParam().lanes));
    for (const std::int32_t factor : {1, 2, -1, -7}) {
      for (int r = 0; r < c.rows; ++r) {
        for (int col = 0; col < c.columns; ++col) {
          offsets[r][col] = static_cast<std::int32_t>(random() % 2 == 0 ? random() : random() % 5000);
        }
      }
      const PerRow<Out> out(c.rows, c.columns);
      run(tile, {offsets.readable().data(), factor, out.get()});
      ASSERT_TRUE(out.intact()) << c;
      for (int r = 0; r < c.rows; ++r) {
        for (int col = 0; col < c.columns; ++col) {
          const auto expected =
              static_cast<Out>(std::int64_t{offsets[r][col]} - std::int64_t{factor} * sum_of(r, col));
          ASSERT_EQ(out[r][col], expected) << c << ": row " << r << " column " << col << " factor " << factor;
        }
      }
    }
  }

  template <class Sum>
  void check_accumulation(const Case& c, const ProductTile& tile, const Sum& sum_of) {
    const int size = rounded(c.columns, GetParam().lanes);
    const PerRow<std::int32_t> out(c.rows, size);
    for (int r = 0; r < c.rows; ++r) {
      for (int col = 0; col < size; ++col) out[r][col] = 1000 * r + col;
    }
    GetParam().store_i32(tile, {out.readable().data(), -1, out.get()});
    ASSERT_TRUE(out.intact()) << c;
    for (int r = 0; r < c.rows; ++r) {
      for (int col = 0; col < size; ++col) {
        const std::int32_t added = col < c.columns ? sum_of(r, col) : 0;
        ASSERT_EQ(out[r][col], 1000 * r + col + added) << c << ": row " << r << " column " << col;
      }
    }
  }

  int some_planes() {
    return GetParam().operand == Operand::bits && random() % 4 == 0 ? 1 + random() % 8 : 1;
  }
};

TEST_P(ProductKernelTest, EveryNumberOfRowsAndColumns) {
  for (int rows = 1; rows <= GetParam().mr; ++rows) {
    for (int columns = 1; columns <= GetParam().nr; ++columns) {
      const std::int64_t segments = 1 + static_cast<std::int64_t>(random() % 3);
      const std::int64_t words = 2 * (1 + static_cast<std::int64_t>(random() % 5));
      ASSERT_NO_FATAL_FAILURE(check({.rows = rows,
                                     .columns = columns,
                                     .segments = segments,
                                     .segment_words = words,
                                     .planes = some_planes(),
                                     .tiles_before = static_cast<int>(random() % 3)}));
    }
  }
}

TEST_P(ProductKernelTest, EveryShapeOfWindow) {
  const ProductKernel& kernel = GetParam();
  const auto check_shape = [&](std::int64_t segments, std::int64_t words, int planes) {
    const int rows = 1 + static_cast<int>(random() % static_cast<std::uint64_t>(kernel.mr));
    const int columns = 1 + static_cast<int>(random() % static_cast<std::uint64_t>(kernel.nr));
    for (const Values values : {Values::random, Values::largest, Values::smallest}) {
      check({.rows = rows,
             .columns = columns,
             .segments = segments,
             .segment_words = words,
             .planes = planes,
             .values = values});
    }
  };
  for (const std::int64_t words : {0, 1, 2, 3, 5, 7, 8, 9, 13, 14, 15, 31, 32, 33, 61, 63, 72, 125, 144}) {
    ASSERT_NO_FATAL_FAILURE(check_shape(1, words, 1));
    if (kernel.operand == Operand::bits) {
      for (int planes = 2; planes <= 8; ++planes) ASSERT_NO_FATAL_FAILURE(check_shape(1, words, planes));
    }
  }
  for (std::int64_t segments = 0; segments <= 9; ++segments) {
    for (const std::int64_t words : {2, 4, 6, 8, 12, 14, 24, 62, 64}) {
      ASSERT_NO_FATAL_FAILURE(check_shape(segments, words, some_planes()));
    }
  }
}

TEST_P(ProductKernelTest, PacksBytesByRowsAsByChannels) {
  const ProductKernel& kernel = GetParam();
  if (kernel.operand == Operand::bits || kernel.isa == Isa::neon) {
    ASSERT_EQ(kernel.pack_rows, nullptr);
    GTEST_SKIP() << "has no such packing";
  }
  for (std::int64_t channels = 1; channels <= 2 * kernel.nr + 1; ++channels) {
    const auto words = static_cast<std::int64_t>(1 + random() % 12);
    const auto pitch = channels + static_cast<std::int64_t>(random() % 3);
    const auto flip = static_cast<std::uint8_t>(random());
    Guarded<std::uint8_t> rows(static_cast<std::size_t>((4 * words - 1) * pitch + channels));
    for (std::size_t i = 0; i < rows.size(); ++i) rows.data()[i] = static_cast<std::uint8_t>(random());
    std::vector<std::uint8_t> w(static_cast<std::size_t>(channels * words * 4));
    for (std::int64_t c = 0; c < channels; ++c) {
      for (std::int64_t k = 0; k < 4 * words; ++k)
        w[static_cast<std::size_t>(c * words * 4 + k)] = rows.data()[k * pitch + c] ^ flip;
    }
    std::vector<std::uint32_t> numbers(w.size() / 4);
    std::memcpy(numbers.data(), w.data(), w.size());
    std::vector<std::uint8_t> expected(kernel.packed_bytes(channels, words));
    kernel.pack(numbers.data(), channels, words, expected.data());

    Guarded<std::uint8_t> packed(expected.size());
    const auto first = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(words));
    for (const auto& [from, count] : {std::pair{std::int64_t{0}, first}, std::pair{first, words - first}}) {
      kernel.pack_rows(rows.data() + 4 * from * pitch, pitch, channels, count, flip, words,
                       packed.data() + from * 4 * kernel.lanes);
    }
    ASSERT_TRUE(packed.intact()) << channels;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(packed.data()[i], expected[i]) << channels << " channels, " << words << " words, byte " << i;
    }
  }
}

TEST_P(ProductKernelTest, WindowsWithoutSomeTaps) {
  if (GetParam().operand != Operand::bits) GTEST_SKIP() << "bits alone";
  for (int i = 0; i < 200; ++i) {
    const auto below = [&](int n) {
      return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
    };
    ASSERT_NO_FATAL_FAILURE(check({.rows = GetParam().mr,
                                   .columns = 1 + static_cast<int>(below(GetParam().nr)),
                                   .segments = 1 + below(4),
                                   .segment_words = 2 * (1 + below(16)),
                                   .planes = 1 + static_cast<int>(below(3)),
                                   .tiles_before = static_cast<int>(below(3)),
                                   .first = below(9),
                                   .skip = below(3) * below(9),
                                   .last = below(9)}));
  }
}

// Sums kept in bytes or in 16 bits for a while would overflow here.
TEST_P(ProductKernelTest, LongProductsDoNotOverflow) {
  for (const Values values : {Values::random, Values::largest, Values::smallest}) {
    ASSERT_NO_FATAL_FAILURE(check({.rows = GetParam().mr,
                                   .columns = GetParam().nr,
                                   .segments = 1,
                                   .segment_words = 4501,
                                   .planes = GetParam().operand == Operand::bits ? 3 : 1,
                                   .values = values}));
    ASSERT_NO_FATAL_FAILURE(
        check({.rows = 1, .columns = 9, .segments = 25, .segment_words = 200, .values = values}));
  }
}

std::string name_of(const testing::TestParamInfo<ProductKernel>& instance) { return instance.param.name; }

INSTANTIATE_TEST_SUITE_P(Rows, ProductKernelTest, testing::ValuesIn(runnable(product_kernels())), name_of);

class FloatKernelTest : public testing::TestWithParam<FloatKernel> {};

// Values of very different sizes: any other order of additions, or a fused one, rounds differently.
TEST_P(FloatKernelTest, RoundsInTheDocumentedOrder) {
  const FloatKernel& kernel = GetParam();
  std::mt19937_64 random(5);
  const auto value = [&] {
    const float unit = static_cast<float>(random() % 2000001) / 1000000.0F - 1.0F;
    return std::ldexp(unit, static_cast<int>(random() % 16) - 8);
  };
  for (int rows = 1; rows <= kernel.mr; ++rows) {
    for (int columns = 1; columns <= kernel.nr; ++columns) {
      const bool several = random() % 2 == 0;
      const Case c = {.rows = rows,
                      .columns = columns,
                      .segments = several ? 1 + static_cast<std::int64_t>(random() % 4) : 1,
                      .segment_words = several ? 2 + 2 * static_cast<std::int64_t>(random() % 9)
                                               : static_cast<std::int64_t>(random() % 70)};
      const std::int64_t k = c.segments * c.segment_words;
      const std::int64_t before = static_cast<std::int64_t>(random() % 2) * kernel.nr;
      Guarded<float> w(static_cast<std::size_t>((before + columns) * k));
      for (std::size_t i = 0; i < w.size(); ++i) w.data()[i] = value();
      Guarded<float> packed(kernel.packed_bytes(before + columns, k) / sizeof(float));
      kernel.pack(w.data(), before + columns, k, packed.data());
      ASSERT_TRUE(packed.intact());

      // Runs side by side and in disorder, a byte off alignment.
      std::vector<std::ptrdiff_t> offsets;
      for (std::int64_t s = 0; s < c.segments; ++s) offsets.push_back(1 + s * c.segment_words * 4);
      std::ranges::shuffle(offsets, random);
      const PerRow<std::uint8_t> x(rows, static_cast<int>(1 + k * 4));
      for (int r = 0; r < rows; ++r) {
        for (std::int64_t i = 0; i < k; ++i) {
          const float v = value();
          std::memcpy(x[r] + 1 + i * 4, &v, 4);
        }
      }
      Guarded<float> bias(static_cast<std::size_t>(rounded(columns, kernel.lanes)));
      for (std::size_t i = 0; i < bias.size(); ++i) bias.data()[i] = value();
      const PerRow<float> out(rows, columns);
      kernel.run({{x.readable().data(), offsets.data(), c.segments, c.segment_words},
                  packed.data() + kernel.packed_bytes(before, k) / sizeof(float),
                  rows,
                  columns,
                  bias.data(),
                  out.get()});
      ASSERT_TRUE(out.intact());
      for (int r = 0; r < rows; ++r) {
        for (int col = 0; col < columns; ++col) {
          float sum = 0;
          for (std::int64_t i = 0; i < k; ++i) {
            float v;
            std::memcpy(
                &v, x[r] + offsets[static_cast<std::size_t>(i / c.segment_words)] + i % c.segment_words * 4,
                4);
            sum += v * w.data()[(before + col) * k + i];
          }
          const float expected = sum + bias.data()[col];
          ASSERT_EQ(std::bit_cast<std::uint32_t>(out[r][col]), std::bit_cast<std::uint32_t>(expected))
              << c << ": row " << r << " column " << col << ": " << out[r][col] << " for " << expected;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, FloatKernelTest, testing::ValuesIn(runnable(float_kernels())),
                         [](const auto& instance) { return std::string(instance.param.name); });

TEST(ProductTable, RowsKeepTheirPromises) {
  std::set<std::string> names;
  for (const ProductKernel& row : product_kernels()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_TRUE(row.nr % 8 == 0 && row.nr % row.lanes == 0) << row.name;
    EXPECT_LE(row.mr, max_product_rows) << row.name;
    EXPECT_LE(row.mr * row.nr, max_product_tile) << row.name;
  }
  for (const FloatKernel& row : float_kernels()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_TRUE(row.nr % 8 == 0 && row.nr % row.lanes == 0) << row.name;
    EXPECT_LE(row.mr, max_product_rows) << row.name;
    EXPECT_LE(row.mr * row.nr, max_product_tile) << row.name;
  }
}

TEST(ProductTable, HasRowsForEveryIsaOfThisCpu) {
  for (const Isa isa : available_isas()) {
    for (const Operand operand : {Operand::bits, Operand::bytes}) {
      EXPECT_TRUE(std::ranges::any_of(product_kernels(), [=](const auto& row) {
        return row.isa == isa && row.operand == operand;
      })) << name(isa);
    }
    EXPECT_TRUE(std::ranges::any_of(float_kernels(), [=](const auto& row) { return row.isa == isa; }))
        << name(isa);
    for (const std::string_view wanted : {"popcount", "int8", "fp32"}) {
      EXPECT_EQ(std::ranges::count_if(limits(),
                                      [=](const auto& row) { return row.isa == isa && row.name == wanted; }),
                1)
          << name(isa) << " " << wanted;
    }
  }
}

TEST(ProductTable, SelectsTheIsaInUse) {
  for (const Operand operand : {Operand::bits, Operand::bytes}) {
    EXPECT_EQ(selected_product(operand).isa, selected_isa());
    EXPECT_EQ(selected_product(operand).operand, operand);
  }
  EXPECT_EQ(selected_float().isa, selected_isa());
}

TEST(Limits, DependOnEveryIteration) {
  const std::set<std::string> known = {"popcount", "int8", "fp32", "sums"};
  for (const Limit& limit : runnable(limits())) {
    EXPECT_TRUE(known.contains(limit.name)) << limit.name;
    EXPECT_GT(limit.macs, 0);
    std::set<std::uint64_t> results;
    for (const std::int64_t iterations : {2, 3, 10, 1000}) results.insert(limit.run(iterations));
    EXPECT_EQ(results.size(), 4U) << limit.name << ' ' << name(limit.isa);
  }
}

}  // namespace
}  // namespace hardbit::cpu
