#include <gtest/gtest.h>

#include <ostream>

#include "bit_cases.h"
#include "cpu/kernels/table.h"
#include "guarded.h"
#include "ops/reference.h"

// Every row of the kernel tables against scalar loops, on raw buffers that end at a guard page.

namespace hardbit::cpu {

// For GoogleTest's messages.
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

INSTANTIATE_TEST_SUITE_P(Rows, BitKernelsTest, testing::ValuesIn(runnable(bit_kernels())),
                         [](const auto& instance) { return std::string(name(instance.param.isa)); });

// Nothing here gains from VNNI or popcounts of vectors: those that have them take the row of avx512bw.
TEST(KernelTable, HasRowsForEveryOtherIsaOfThisCpu) {
  for (const Isa isa : available_isas()) {
    if (isa > Isa::avx512bw) continue;
    const auto is = [isa](const auto& row) { return row.isa == isa; };
    EXPECT_EQ(std::ranges::count_if(bit_kernels(), is), 1) << name(isa);
  }
}

TEST(KernelTable, SelectsTheIsaInUse) {
  EXPECT_EQ(selected_bit_kernels().isa, std::min(selected_isa(), Isa::avx512bw));
}

}  // namespace
}  // namespace hardbit::cpu
