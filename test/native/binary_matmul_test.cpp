#include "ops/binary_matmul.h"

#include <gtest/gtest.h>

#include "cpu/binary_conv2d.h"
#include "guarded.h"
#include "ops/bits.h"
#include "ops/reference.h"
#include "product_rows.h"

namespace hardbit {
namespace {

/// Calls f with a value of the dtype's type.
template <class F>
void with_type(DType dtype, const F& f) {
  dtype == DType::i16 ? f(std::int16_t{}) : f(std::int32_t{});
}

/// On the device of the tests, and back.
Tensor there(const Tensor& x) { return x.to(test::device()); }
Tensor here(const Tensor& x) { return x.to(Device::cpu); }

Tensor run_binary(const Tensor& a, const Tensor& w) { return here(ops::binary_matmul(there(a), there(w))); }
Tensor run_codes(const Tensor& codes, int bits, const Tensor& w) {
  return here(ops::codes_matmul(there(codes), bits, there(w)));
}
/// Of the rows of the CPU's table; the GPU has its own tests of what runs where.
std::vector<test::NamedProductRows> product_rows() {
  return test::device() == Device::cpu ? test::product_rows() : std::vector<test::NamedProductRows>();
}
Tensor random_bits(Shape shape, std::uint32_t seed) {
  return here(test::random_bits(std::move(shape), seed));
}
Tensor random_codes(Shape shape, int bits, std::uint32_t seed) {
  return here(test::random_codes(std::move(shape), bits, seed));
}

/// Runs every row on the two products into a guarded, poisoned output.
void check_binary(const Tensor& a, const Tensor& w) {
  const Tensor expected = ops::reference::binary_matmul(a, w);
  for (const test::NamedProductRows& row : product_rows()) {
    SCOPED_TRACE(testing::Message() << row.name << " a " << to_string(a.shape()) << " w "
                                    << to_string(w.shape()));
    with_type(expected.dtype(), [&]<class Out>(Out) {
      const test::Guarded<Out> y(static_cast<std::size_t>(expected.count()));
      cpu::binary_conv2d(row.rows, cpu::dense_as_conv2d(a.dim(0), w.dim(0), a.dim(1)),
                         ops::PaddingValue::zero, a.data<std::uint64_t>(), w.data<std::uint64_t>(), y.data());
      ASSERT_TRUE(y.intact());
      for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y.data()[i], expected.data<Out>()[i]) << i;
    });
  }
  test::expect_same(run_binary(a, w), expected, "operator");
}

void check_codes(const Tensor& codes, int bits, const Tensor& w) {
  const Tensor expected = ops::reference::codes_matmul(codes, bits, w);
  for (const test::NamedProductRows& row : product_rows()) {
    SCOPED_TRACE(testing::Message() << row.name << " codes " << to_string(codes.shape()) << " w "
                                    << to_string(w.shape()) << " bits " << bits);
    with_type(expected.dtype(), [&]<class Out>(Out) {
      const test::Guarded<Out> y(static_cast<std::size_t>(expected.count()));
      cpu::codes_conv2d(row.rows, cpu::dense_as_conv2d(codes.dim(0), w.dim(0), codes.dim(1)),
                        ops::PaddingValue::zero, codes.data<std::uint8_t>(), bits, w.data<std::uint64_t>(),
                        y.data());
      ASSERT_TRUE(y.intact());
      for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y.data()[i], expected.data<Out>()[i]) << i;
    });
  }
  test::expect_same(run_codes(codes, bits, w), expected, "operator");
}

const std::vector<std::int64_t> tile_edges = {0, 1, 2, 7, 8, 9, 23, 24, 25};
const std::vector<std::int64_t> word_edges = {0, 1, 2, 7, 9, 63, 64, 65, 127, 128, 129, 600};

TEST(BinaryMatmul, EqualsTheReferenceOnAwkwardShapes) {
  std::uint32_t seed = 0;
  for (const std::int64_t n : tile_edges) {
    for (const std::int64_t m : tile_edges) {
      for (const std::int64_t k : word_edges) {
        seed += 2;
        check_binary(random_bits({n, k}, seed), random_bits({m, k}, seed + 1));
        if (HasFailure()) return;
      }
    }
  }
}

TEST(CodesMatmul, EqualsTheReferenceOnAwkwardShapes) {
  std::uint32_t seed = 0;
  for (const std::int64_t n : tile_edges) {
    for (const std::int64_t m : tile_edges) {
      for (const std::int64_t k : word_edges) {
        const int bits = static_cast<int>(seed / 2 * 5 / 12 % 8) + 1;
        seed += 2;
        check_codes(random_codes({n, k}, bits, seed), bits, random_bits({m, k}, seed + 1));
        if (HasFailure()) return;
      }
    }
  }
}

TEST(CodesMatmul, EqualsTheReferenceForEveryBitCountAndLength) {
  std::uint32_t seed = 1000;
  for (int bits = 1; bits <= 8; ++bits) {
    for (const std::int64_t k : test::awkward_lengths) {
      seed += 2;
      check_codes(random_codes({9, k}, bits, seed), bits, random_bits({25, k}, seed + 1));
      if (HasFailure()) return;
    }
  }
}

TEST(BinaryMatmul, EqualsTheReferenceOnLargeShapes) {
  for (const auto& [n, m, k] : std::vector<std::array<std::int64_t, 3>>{
           {128, 600, 784}, {65, 129, 785}, {785, 25, 129}, {3, 600, 5000}, {128, 10, 400}, {1, 785, 64}}) {
    check_binary(random_bits({n, k}, 1), random_bits({m, k}, 2));
    const int bits = static_cast<int>(k % 8) + 1;
    check_codes(random_codes({n, k}, bits, 3), bits, random_bits({m, k}, 4));
    if (HasFailure()) return;
  }
  check_codes(random_codes({128, 784}, 8, 3), 8, random_bits({100, 784}, 4));
}

TEST(BinaryMatmul, EqualsALoopOverUnpackedSigns) {
  const Tensor a = random_bits({11, 200}, 1);
  const Tensor w = random_bits({29, 200}, 2);
  const Tensor af = ops::unpack_signs(a);
  const Tensor wf = ops::unpack_signs(w);
  const Tensor y = run_binary(a, w);
  ASSERT_EQ(y.dtype(), DType::i16);
  for (std::int64_t n = 0; n < 11; ++n) {
    for (std::int64_t m = 0; m < 29; ++m) {
      int sum = 0;
      for (std::int64_t k = 0; k < 200; ++k) {
        sum +=
            static_cast<int>(af.data<float>()[n * 200 + k]) * static_cast<int>(wf.data<float>()[m * 200 + k]);
      }
      EXPECT_EQ(y.data<std::int16_t>()[n * 29 + m], sum);
    }
  }
}

TEST(CodesMatmul, EqualsALoopOverUnpackedSigns) {
  const Tensor codes = random_codes({11, 200}, 4, 1);
  const Tensor w = random_bits({29, 200}, 2);
  const Tensor wf = ops::unpack_signs(w);
  const Tensor y = run_codes(codes, 4, w);
  ASSERT_EQ(y.dtype(), DType::i16);
  for (std::int64_t n = 0; n < 11; ++n) {
    for (std::int64_t m = 0; m < 29; ++m) {
      int sum = 0;
      for (std::int64_t k = 0; k < 200; ++k) {
        sum += codes.data<std::uint8_t>()[n * 200 + k] * static_cast<int>(wf.data<float>()[m * 200 + k]);
      }
      EXPECT_EQ(y.data<std::int16_t>()[n * 29 + m], sum);
    }
  }
}

/// All +1 or all −1.
Tensor constant_bits(Shape shape, bool plus) {
  Tensor x = Tensor::empty(DType::f32, std::move(shape));
  std::fill_n(x.data<float>(), x.count(), plus ? 1.0F : -1.0F);
  return ops::pack_signs(x);
}

TEST(BinaryMatmul, HoldsTheLargestSumsInTheNarrowestType) {
  for (const std::int64_t k : {32766, 32767, 32768, 40000}) {
    const Tensor plus = constant_bits({2, k}, true);
    const Tensor minus = constant_bits({3, k}, false);
    const Tensor y = run_binary(plus, minus);
    ASSERT_EQ(y.dtype(), k <= 32767 ? DType::i16 : DType::i32);
    with_type(y.dtype(), [&]<class Out>(Out) {
      for (const Out value : y.span<Out>()) EXPECT_EQ(value, -k);
    });
  }
}

TEST(CodesMatmul, HoldsTheLargestSumsInTheNarrowestType) {
  for (int bits = 1; bits <= 8; ++bits) {
    const std::int64_t levels = (1 << bits) - 1;
    for (const std::int64_t k : {32767 / levels, 32767 / levels + 1}) {
      Tensor codes = Tensor::empty(DType::u8, {2, k});
      std::fill_n(codes.data<std::uint8_t>(), codes.count(), static_cast<std::uint8_t>(levels));
      for (const bool plus : {false, true}) {
        const Tensor y = run_codes(codes, bits, constant_bits({3, k}, plus));
        ASSERT_EQ(y.dtype(), k * levels <= 32767 ? DType::i16 : DType::i32) << bits << " " << k;
        with_type(y.dtype(), [&]<class Out>(Out) {
          for (const Out value : y.span<Out>()) EXPECT_EQ(value, plus ? k * levels : -k * levels);
        });
      }
    }
  }
}

TEST(BinaryMatmul, IsTheSameOnEveryThreadCount) {
  const Tensor a = random_bits({130, 784}, 1);
  const Tensor w = random_bits({601, 784}, 2);
  test::expect_same(run_binary(a, w), ops::reference::binary_matmul(a, w), "reference");
  if (test::device() != Device::cpu) GTEST_SKIP() << "threads are the CPU's";
  test::expect_same_on_all_thread_counts([&] { return ops::binary_matmul(a, w); });
}

TEST(CodesMatmul, IsTheSameOnEveryThreadCount) {
  const Tensor codes = random_codes({130, 784}, 8, 3);
  const Tensor w = random_bits({601, 784}, 2);
  test::expect_same(run_codes(codes, 8, w), ops::reference::codes_matmul(codes, 8, w), "reference");
  if (test::device() != Device::cpu) GTEST_SKIP() << "threads are the CPU's";
  test::expect_same_on_all_thread_counts([&] { return ops::codes_matmul(codes, 8, w); });
}

TEST(BinaryMatmul, AcceptsSlices) {
  const Tensor a = random_bits({40, 100}, 1);
  const Tensor w = random_bits({30, 100}, 2);
  const Tensor codes = random_codes({40, 100}, 2, 3);
  test::expect_same(here(ops::binary_matmul(there(a).slice(3, 20), there(w).slice(5, 30))),
                    ops::reference::binary_matmul(a.slice(3, 20), w.slice(5, 30)), "bits");
  test::expect_same(here(ops::codes_matmul(there(codes).slice(3, 20), 2, there(w).slice(5, 30))),
                    ops::reference::codes_matmul(codes.slice(3, 20), 2, w.slice(5, 30)), "codes");
}

TEST(BinaryMatmul, RefusesWrongOperands) {
  const Tensor a = random_bits({4, 10}, 1);
  const Tensor f = Tensor::zeros(DType::f32, {4, 10});
  const auto refuses = [](const char* code, const Tensor& x, const Tensor& w) {
    test::expect_error(code, [&] { ops::binary_matmul(x, w); });
    test::expect_error(code, [&] { ops::reference::binary_matmul(x, w); });
  };
  refuses("ERR_HARDBIT_DTYPE", f, a);
  refuses("ERR_HARDBIT_DTYPE", a, f);
  refuses("ERR_HARDBIT_SHAPE", a, random_bits({4, 11}, 1));
  refuses("ERR_HARDBIT_SHAPE", random_bits({10}, 1), a);
  refuses("ERR_HARDBIT_SHAPE", a, random_bits({1, 4, 10}, 1));
}

TEST(CodesMatmul, RefusesWrongOperands) {
  const Tensor codes = random_codes({4, 10}, 3, 1);
  const Tensor w = random_bits({5, 10}, 1);
  const auto refuses = [](const char* code, const Tensor& x, int bits, const Tensor& weights) {
    test::expect_error(code, [&] { ops::codes_matmul(x, bits, weights); });
    test::expect_error(code, [&] { ops::reference::codes_matmul(x, bits, weights); });
  };
  EXPECT_NO_THROW(ops::codes_matmul(codes, 3, w));
  refuses("ERR_HARDBIT_ARGUMENT", codes, 0, w);
  refuses("ERR_HARDBIT_ARGUMENT", codes, 9, w);
  refuses("ERR_HARDBIT_DTYPE", w, 3, w);
  refuses("ERR_HARDBIT_DTYPE", codes, 3, codes);
  refuses("ERR_HARDBIT_SHAPE", codes, 3, random_bits({5, 9}, 1));
}

TEST(CodesMatmul, RefusesSumsThatMayNotFitInto32Bits) {
  const auto run = [](std::int64_t k) {
    ops::codes_matmul(Tensor::zeros(DType::u8, {0, k}), 8, Tensor::zeros(DType::bits, {0, k}));
  };
  EXPECT_NO_THROW(run(8421504));
  test::expect_error(
      "ERR_HARDBIT_SHAPE", [&] { run(8421505); }, "8421504");
}

TEST(CodesMatmul, RefusesCodesThatDoNotFit) {
  const Tensor w = random_bits({5, 130}, 1);
  for (int bits = 1; bits <= 7; ++bits) {
    Tensor codes = Tensor::zeros(DType::u8, {9, 130});
    codes.data<std::uint8_t>()[codes.count() - 1] = static_cast<std::uint8_t>(1 << bits);
    test::expect_error("ERR_HARDBIT_ARGUMENT", [&] { run_codes(codes, bits, w); });
    test::expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::reference::codes_matmul(codes, bits, w); });
    EXPECT_NO_THROW(run_codes(codes, bits + 1, w));
  }
}

}  // namespace
}  // namespace hardbit
