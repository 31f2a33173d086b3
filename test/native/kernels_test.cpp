#include <gtest/gtest.h>

#include <ostream>
#include <set>

#include "bit_cases.h"
#include "cpu/kernels/table.h"
#include "guarded.h"
#include "ops/reference.h"

// Every row of the kernel tables against scalar loops, on raw buffers that end at a guard page.

namespace hardbit::cpu {

// For GoogleTest's messages.
void PrintTo(const Bgemm& row, std::ostream* stream) { *stream << row.name; }
void PrintTo(const BitKernels& row, std::ostream* stream) { *stream << name(row.isa); }

namespace {

using test::Guarded;

template <class Row>
std::vector<Row> runnable(std::span<const Row> table) {
  std::vector<Row> rows;
  for (const Row& row : table) {
    if (test::available(row.isa)) rows.push_back(row);
  }
  return rows;
}

int slow_popcount(std::uint64_t word) {
  int count = 0;
  for (; word != 0; word >>= 1) count += static_cast<int>(word & 1);
  return count;
}

std::vector<std::uint64_t> random_words(std::int64_t count, std::uint32_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::uint64_t> words(static_cast<std::size_t>(count));
  for (auto& word : words) word = random();
  return words;
}

class BgemmTest : public testing::TestWithParam<Bgemm> {};

/// Packs w [columns][words], runs one tile over x [rows][planes][words] and checks every sum, and that
/// nothing else of the output changed.
void check_tile(const Bgemm& kernel, int rows, int columns, std::int64_t words, int planes,
                const std::vector<std::uint64_t>& x, const std::vector<std::uint64_t>& w) {
  SCOPED_TRACE(testing::Message() << kernel.name << " rows " << rows << " columns " << columns << " words "
                                  << words << " planes " << planes);
  const int padded = (columns + kernel.lanes - 1) / kernel.lanes * kernel.lanes;
  const Guarded<std::uint64_t> x_buffer(x);
  const Guarded<std::uint64_t> w_buffer(w);
  const Guarded<std::uint64_t> packed(static_cast<std::size_t>(padded * words));
  kernel.pack(w_buffer.data(), columns, words, packed.data());
  ASSERT_TRUE(packed.intact());
  for (int c = 0; c < padded; ++c) {
    for (std::int64_t k = 0; k < words; ++k) {
      const std::int64_t group = c / kernel.lanes;
      ASSERT_EQ(packed.data()[(group * words + k) * kernel.lanes + c % kernel.lanes],
                c < columns ? w[static_cast<std::size_t>(c * words + k)] : 0);
    }
  }

  // Ends after the last sum that may be written.
  const Guarded<std::uint32_t> sums(static_cast<std::size_t>((rows - 1) * kernel.nr + padded));
  const auto untouched = sums.values();
  kernel.run({.x = x_buffer.data(),
              .row_stride = planes * words,
              .plane_stride = words,
              .w = packed.data(),
              .words = words,
              .planes = planes,
              .rows = rows,
              .columns = columns,
              .sums = sums.data()});
  ASSERT_TRUE(sums.intact());
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const auto r = static_cast<std::int64_t>(i) / kernel.nr;
    const auto c = static_cast<std::int64_t>(i) % kernel.nr;
    if (c >= padded) {
      ASSERT_EQ(sums.data()[i], untouched[i]) << r << " " << c;
    } else if (c < columns) {
      std::uint32_t expected = 0;
      for (int p = 0; p < planes; ++p) {
        for (std::int64_t k = 0; k < words; ++k) {
          const auto xi = static_cast<std::size_t>((r * planes + p) * words + k);
          const auto wi = static_cast<std::size_t>(c * words + k);
          expected += static_cast<std::uint32_t>(slow_popcount(x[xi] ^ w[wi])) << p;
        }
      }
      ASSERT_EQ(sums.data()[i], expected) << r << " " << c;
    }
  }
}

TEST_P(BgemmTest, SumsEveryTileShape) {
  const Bgemm& kernel = GetParam();
  ASSERT_LE(kernel.mr * kernel.nr, max_tile);
  ASSERT_EQ(kernel.nr % kernel.lanes, 0);
  for (int rows = 1; rows <= kernel.mr; ++rows) {
    for (int columns = 1; columns <= kernel.nr; ++columns) {
      for (const std::int64_t words : {0, 1, 2, 13}) {
        check_tile(kernel, rows, columns, words, 1, random_words(rows * words, 1),
                   random_words(columns * words, 2));
      }
      check_tile(kernel, rows, columns, 3, 8, random_words(rows * 8 * 3, 3), random_words(columns * 3, 4));
    }
  }
}

TEST_P(BgemmTest, SumsEveryLengthAndPlaneCount) {
  const Bgemm& kernel = GetParam();
  for (const std::int64_t words : {0, 1, 2, 3, 5, 12, 13, 30, 31, 32, 33, 62, 63, 64, 65, 157}) {
    for (int planes = 1; planes <= 8; ++planes) {
      check_tile(kernel, kernel.mr, kernel.nr, words, planes, random_words(kernel.mr * planes * words, 5),
                 random_words(kernel.nr * words, 6));
    }
  }
}

TEST_P(BgemmTest, CountsWordsThatDifferEverywhereWithoutOverflow) {
  const Bgemm& kernel = GetParam();
  for (const std::int64_t words : {31, 32, 33, 100, 2000}) {
    for (const int planes : {1, 8}) {
      check_tile(
          kernel, kernel.mr, kernel.nr, words, planes,
          std::vector<std::uint64_t>(static_cast<std::size_t>(kernel.mr * planes * words), ~std::uint64_t{0}),
          std::vector<std::uint64_t>(static_cast<std::size_t>(kernel.nr * words), 0));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, BgemmTest, testing::ValuesIn(runnable(bgemm_kernels())),
                         [](const auto& instance) { return std::string(instance.param.name); });

class BitKernelsTest : public testing::TestWithParam<BitKernels> {
 protected:
  /// body(rows, columns, seed) over the awkward shapes.
  template <class Body>
  void for_shapes(const Body& body) {
    std::uint32_t seed = 0;
    for (const std::int64_t columns : test::awkward_lengths) {
      for (const std::int64_t rows : {0, 1, 2, 5}) {
        SCOPED_TRACE(testing::Message() << rows << " x " << columns);
        body(rows, columns, ++seed);
        if (HasFatalFailure()) return;
      }
    }
  }
};

/// The bytes of a tensor and of a guarded buffer.
template <class T>
void expect_equal(const Guarded<T>& actual, const Tensor& expected) {
  ASSERT_TRUE(actual.intact());
  ASSERT_EQ(actual.size() * sizeof(T), expected.byte_length());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(std::memcmp(actual.data() + i, expected.data<T>() + i, sizeof(T)), 0)
        << "element " << i << " is " << +actual.data()[i] << ", expected " << +expected.data<T>()[i];
  }
}

template <class T>
Guarded<T> guarded(const Tensor& x) {
  const auto span = x.span<T>();
  return Guarded<T>(std::vector<T>(span.begin(), span.end()));
}

TEST_P(BitKernelsTest, PacksSigns) {
  for_shapes([](std::int64_t rows, std::int64_t columns, std::uint32_t seed) {
    const Tensor x = test::awkward_tensor({rows, columns}, seed);
    const Guarded<std::uint64_t> bits(static_cast<std::size_t>(rows * words(columns)));
    GetParam().pack_signs(guarded<float>(x).data(), rows, columns, bits.data());
    expect_equal(bits, ops::reference::pack_signs(x));
  });
}

TEST_P(BitKernelsTest, UnpacksSigns) {
  for_shapes([](std::int64_t rows, std::int64_t columns, std::uint32_t seed) {
    const Tensor bits = test::random_bits({rows, columns}, seed);
    const Guarded<float> x(static_cast<std::size_t>(rows * columns));
    GetParam().unpack_signs(guarded<std::uint64_t>(bits).data(), rows, columns, x.data());
    expect_equal(x, ops::reference::unpack_signs(bits));
  });
}

TEST_P(BitKernelsTest, PacksSignsAndMasks) {
  for_shapes([](std::int64_t rows, std::int64_t columns, std::uint32_t seed) {
    const Tensor x = test::awkward_tensor({rows, columns}, seed);
    const Guarded<std::uint64_t> signs(static_cast<std::size_t>(rows * words(columns)));
    const Guarded<std::uint64_t> mask(signs.size());
    GetParam().sign_forward(guarded<float>(x).data(), rows, columns, signs.data(), mask.data());
    expect_equal(signs, ops::reference::pack_signs(x));
    expect_equal(mask, ops::reference::pack_mask(x));
  });
}

TEST_P(BitKernelsTest, MasksGradients) {
  for_shapes([](std::int64_t rows, std::int64_t columns, std::uint32_t seed) {
    const Tensor dy = test::awkward_tensor({rows, columns}, seed);
    const Tensor mask = test::random_bits({rows, columns}, seed + 1);
    const Guarded<float> dx(static_cast<std::size_t>(rows * columns));
    GetParam().mask_backward(guarded<float>(dy).data(), guarded<std::uint64_t>(mask).data(), rows, columns,
                             dx.data());
    expect_equal(dx, ops::reference::mask_backward(dy, mask));
  });
}

TEST_P(BitKernelsTest, ScalesGradientsByTheApproximateSign) {
  for (const std::int64_t count : test::awkward_lengths) {
    SCOPED_TRACE(count);
    // A NaN's payload is not specified, so dy has none.
    std::vector<float> gradients = test::awkward_floats(static_cast<std::size_t>(count), 7);
    for (float& dy : gradients) dy = std::isfinite(dy) ? dy : 0.3F;
    const Tensor dy = test::make<float>({count}, gradients);
    const Tensor x = test::awkward_tensor({count}, 8);
    const Guarded<float> dx(static_cast<std::size_t>(count));
    GetParam().approx_sign_backward(guarded<float>(dy).data(), guarded<float>(x).data(), count, dx.data());
    expect_equal(dx, ops::reference::approx_sign_backward(dy, x));
  }
}

TEST_P(BitKernelsTest, Discretizes) {
  for (int bits = 1; bits <= 8; ++bits) {
    for (const std::int64_t count : test::awkward_lengths) {
      SCOPED_TRACE(testing::Message() << bits << " bits, " << count);
      const Tensor x = test::awkward_tensor({count}, 9);
      const Guarded<std::uint8_t> codes(static_cast<std::size_t>(count));
      GetParam().discretize(guarded<float>(x).data(), count, bits, codes.data());
      expect_equal(codes, ops::reference::discretize(x, bits));
    }
    // Every float near a step, where a fused multiply-add or another rounding would show.
    std::vector<float> steps;
    const int levels = (1 << bits) - 1;
    for (int code = 0; code <= levels; ++code) {
      auto pattern =
          std::bit_cast<std::uint32_t>((static_cast<float>(code) + 0.5F) / static_cast<float>(levels));
      pattern -= 8;
      for (int i = 0; i < 17; ++i) steps.push_back(std::bit_cast<float>(pattern++));
    }
    const Tensor x = test::make<float>({static_cast<std::int64_t>(steps.size())}, steps);
    const Guarded<std::uint8_t> codes(steps.size());
    GetParam().discretize(x.data<float>(), x.count(), bits, codes.data());
    expect_equal(codes, ops::reference::discretize(x, bits));
  }
}

TEST_P(BitKernelsTest, TurnsCodesIntoFloats) {
  for (int bits = 1; bits <= 8; ++bits) {
    for (const std::int64_t count : test::awkward_lengths) {
      SCOPED_TRACE(testing::Message() << bits << " bits, " << count);
      const Tensor codes = test::random_codes({count}, bits, 10);
      const Guarded<float> x(static_cast<std::size_t>(count));
      GetParam().codes_to_float(guarded<std::uint8_t>(codes).data(), count, bits, x.data());
      expect_equal(x, ops::reference::codes_to_float(codes, bits));
    }
  }
}

TEST_P(BitKernelsTest, SplitsCodesIntoPlanes) {
  for (int bits = 1; bits <= 8; ++bits) {
    for_shapes([bits](std::int64_t rows, std::int64_t columns, std::uint32_t seed) {
      // All eight bits are random: those above the highest plane must be reported and left out.
      const Tensor codes = test::random_codes({rows, columns}, 8, seed);
      const Guarded<std::uint64_t> planes(static_cast<std::size_t>(rows * bits * words(columns)));
      const int all =
          GetParam().pack_planes(guarded<std::uint8_t>(codes).data(), rows, columns, bits, planes.data());
      ASSERT_TRUE(planes.intact());
      int expected_all = 0;
      std::vector<std::uint64_t> expected(planes.size(), 0);
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t c = 0; c < columns; ++c) {
          const std::uint8_t code = codes.data<std::uint8_t>()[r * columns + c];
          expected_all |= code;
          for (int p = 0; p < bits; ++p) {
            expected[static_cast<std::size_t>((r * bits + p) * words(columns) + c / 64)] |=
                static_cast<std::uint64_t>(code >> p & 1) << (c % 64);
          }
        }
      }
      ASSERT_EQ(all, expected_all);
      ASSERT_EQ(planes.values(), expected);
    });
  }
}

template <class Out>
void check_store(void (*store)(const TileStore<Out>&), int nr, int rows, int columns) {
  SCOPED_TRACE(testing::Message() << "nr " << nr << " rows " << rows << " columns " << columns);
  std::mt19937 random(11);
  const std::int64_t stride = columns + 3;
  std::vector<std::uint32_t> sums(static_cast<std::size_t>((rows - 1) * nr + columns));
  std::vector<std::int32_t> offsets(static_cast<std::size_t>(columns));
  for (auto& sum : sums) sum = random() % 16000;
  for (auto& offset : offsets) offset = static_cast<std::int32_t>(random() % 32768);
  const Guarded<std::uint32_t> sums_buffer(sums);
  const Guarded<std::int32_t> offsets_buffer(offsets);
  for (const int factor : {1, 2}) {
    const Guarded<Out> out(static_cast<std::size_t>((rows - 1) * stride + columns));
    std::vector<Out> expected = out.values();
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < columns; ++c) {
        expected[static_cast<std::size_t>(r * stride + c)] =
            static_cast<Out>(offsets[static_cast<std::size_t>(c)] -
                             factor * static_cast<std::int32_t>(sums[static_cast<std::size_t>(r * nr + c)]));
      }
    }
    store({.sums = sums_buffer.data(),
           .nr = nr,
           .rows = rows,
           .columns = columns,
           .offsets = offsets_buffer.data(),
           .factor = factor,
           .out = out.data(),
           .stride = stride});
    ASSERT_TRUE(out.intact());
    ASSERT_EQ(out.values(), expected);
  }
}

TEST_P(BitKernelsTest, StoresTiles) {
  for (const int nr : {4, 8, 24, 32}) {
    for (int columns = 1; columns <= nr; ++columns) {
      for (const int rows : {1, 3, 8}) {
        check_store(GetParam().store_i16, nr, rows, columns);
        check_store(GetParam().store_i32, nr, rows, columns);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, BitKernelsTest, testing::ValuesIn(runnable(bit_kernels())),
                         [](const auto& instance) { return std::string(name(instance.param.isa)); });

TEST(KernelTable, HasRowsForEveryIsaOfThisCpu) {
  for (const Isa isa : available_isas()) {
    const auto is = [isa](const auto& row) { return row.isa == isa; };
    EXPECT_TRUE(std::ranges::any_of(bgemm_kernels(), is)) << name(isa);
    EXPECT_EQ(std::ranges::count_if(bit_kernels(), is), 1) << name(isa);
  }
}

TEST(KernelTable, SelectsTheIsaInUse) {
  EXPECT_EQ(selected_bgemm().isa, selected_isa());
  EXPECT_EQ(selected_bit_kernels().isa, selected_isa());
}

TEST(KernelTable, NamesAreUnique) {
  std::set<std::string> names;
  for (const Bgemm& row : bgemm_kernels()) EXPECT_TRUE(names.insert(row.name).second) << row.name;
}

}  // namespace
}  // namespace hardbit::cpu
