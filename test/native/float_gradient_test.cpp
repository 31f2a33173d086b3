#include "cpu/float_gradient.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <deque>
#include <limits>

#include "bit_cases.h"
#include "conv_cases.h"
#include "guarded.h"
#include "ops/binary_gradient.h"
#include "ops/bits.h"
#include "ops/reference.h"

namespace hardbit {
namespace {

using cpu::SignSumKernels;
using ops::PaddingValue;
using test::ConvCase;
using test::for_each_product;

Tensor random_tensor(Shape shape, std::uint32_t seed, float low = -1, float high = 1) {
  return test::random_tensor(std::move(shape), seed, low, high).to(Device::cpu);
}

Tensor random_bits(Shape shape, std::uint32_t seed) {
  return ops::pack_signs(random_tensor(std::move(shape), seed));
}

template <class F>
void for_each_row(const F& f) {
  for (const SignSumKernels& row : cpu::sign_sum_kernels()) {
    if (!test::available(row.isa)) continue;
    SCOPED_TRACE(row.name);
    f(row);
  }
}

// -- the kernels

TEST(SignSums, TablesAreSumsUnderAllSigns) {
  const Tensor x = random_tensor({3, 4, 7}, 1);
  const float* const p = x.data<float>();
  for_each_row([&](const SignSumKernels& row) {
    const std::array<const float*, 4> values{p, p + 7, p + 14, p + 21};
    alignas(64) std::array<float, 3 * 128> out{};
    row.tables({.values = values.data(),
                .rows = 3,
                .row_step = 28,
                .row_pitch = 128,
                .count = 3,
                .step = 2,
                .pitch = 32,
                .out = out.data()});
    for (std::int64_t r = 0; r < 3; ++r) {
      for (std::int64_t i = 0; i < 4; ++i) {
        for (std::int64_t signs = 0; signs < 32; ++signs) {
          // AVX2 reads half of a table, and leaves out the other.
          if (row.isa == Isa::avx2 && i < 3 && signs >= 8 && signs < 16) continue;
          double sum = 0;
          for (std::int64_t v = 0; v < 4; ++v) {
            const double value = p[r * 28 + v * 7 + i * 2];
            sum += (signs >> v & 1) != 0 ? value : -value;
          }
          const double expected = i < 3 && signs < 16 ? sum : 0;
          ASSERT_NEAR(out[static_cast<std::size_t>(r * 128 + i * 32 + signs)], expected, 1e-6);
        }
      }
    }
  });
}

TEST(SignSums, TransposeAndWindowOnEveryRow) {
  std::mt19937_64 random(3);
  std::array<std::uint64_t, 32> rows;
  for (std::uint64_t& row : rows) row = random();
  for_each_row([&](const SignSumKernels& row) {
    for (int blocks = 1; blocks <= 4; ++blocks) {
      const test::Guarded<std::uint32_t> words(static_cast<std::size_t>(blocks) * 16);
      row.transpose(rows.data(), blocks, words.data());
      ASSERT_TRUE(words.intact());
      for (std::size_t lane = 0; lane < words.size(); ++lane) {
        for (std::size_t i = 0; i < 32; ++i)
          ASSERT_EQ(words.data()[lane] >> i & 1, rows[i] >> lane & 1) << lane << " " << i;
      }
    }
    const std::size_t lanes = 48;
    std::vector<std::uint32_t> words(lanes * 4);
    for (std::uint32_t& word : words) word = static_cast<std::uint32_t>(random());
    for (const std::int64_t from : {0, 1, 31, 32, 45, 64}) {
      for (const auto& [to, count] :
           std::vector<std::array<int, 2>>{{0, 32}, {0, 7}, {8, 24}, {31, 1}, {5, 20}}) {
        std::vector<std::uint32_t> out(lanes, to == 0 ? 0U : 1U);
        row.window({.words = words.data(),
                    .word_pitch = lanes,
                    .from = from,
                    .to = to,
                    .count = count,
                    .blocks = 3,
                    .out = out.data()});
        for (std::size_t lane = 0; lane < lanes; ++lane) {
          std::uint32_t expected = to == 0 ? 0U : 1U;
          for (int i = 0; i < count; ++i) {
            const auto bit = static_cast<std::size_t>(from + i);
            expected |= (words[bit / 32 * lanes + lane] >> bit % 32 & 1) << (to + i);
          }
          ASSERT_EQ(out[lane], expected) << lane << " from " << from << " to " << to << " count " << count;
        }
      }
    }
  });
}

TEST(SignSums, TilesOfEverySizeOnEveryRow) {
  // Segments of 19 tables: two words and a part of one.
  constexpr std::int64_t segments = 3;
  constexpr std::int64_t groups = 19;
  constexpr std::int64_t lanes = 64;
  std::mt19937 random(5);
  const Tensor values = random_tensor({4, 6 * segments * groups}, 1);
  const Tensor tables = Tensor::empty(DType::f32, {6 * segments * groups * 16 + 16});
  float* const base =
      tables.data<float>() + (64 - reinterpret_cast<std::uintptr_t>(tables.raw()) % 64) % 64 / sizeof(float);
  const std::array<const float*, 4> columns{values.data<float>(), values.data<float>() + values.dim(1),
                                            values.data<float>() + 2 * values.dim(1),
                                            values.data<float>() + 3 * values.dim(1)};
  cpu::sign_sum_generic.tables({.values = columns.data(),
                                .rows = 1,
                                .row_step = 0,
                                .row_pitch = 0,
                                .count = values.dim(1),
                                .step = 1,
                                .pitch = 16,
                                .out = base});
  std::vector<std::uint32_t> words(segments * 3 * lanes);
  for (std::uint32_t& word : words) word = static_cast<std::uint32_t>(random());
  std::array<const float*, 6> rows;
  for (std::size_t r = 0; r < 6; ++r) rows[r] = base + static_cast<std::int64_t>(r) * segments * groups * 16;
  // In another order than memory's.
  const std::array<std::ptrdiff_t, segments> table_segments{2 * groups * 16, 0, groups * 16};
  const std::array<std::ptrdiff_t, segments> word_segments{0, 6 * lanes, 3 * lanes};
  for_each_row([&](const SignSumKernels& row) {
    for (int height = 1; height <= 6; ++height) {
      for (const int width : {1, 15, 16, 17, 31, 33, 48, 50, 64}) {
        for (const bool add : {false, true}) {
          std::deque<test::Guarded<float>> outs;
          std::array<float*, 6> out{};
          for (int r = 0; r < height; ++r) {
            outs.emplace_back(std::vector<float>(static_cast<std::size_t>(width), 2.5F));
            out[static_cast<std::size_t>(r)] = outs.back().data();
          }
          row.sum({.tables = rows.data(),
                   .table_segments = table_segments.data(),
                   .words = words.data(),
                   .word_segments = word_segments.data(),
                   .word_pitch = lanes,
                   .segments = segments,
                   .groups = groups,
                   .rows = height,
                   .lanes = width,
                   .out = out.data(),
                   .add = add});
          for (int r = 0; r < height; ++r) {
            ASSERT_TRUE(outs[static_cast<std::size_t>(r)].intact());
            for (int lane = 0; lane < width; ++lane) {
              float sum = 0;
              for (std::size_t s = 0; s < segments; ++s) {
                for (std::int64_t g = 0; g < groups; ++g) {
                  const std::uint32_t word =
                      words[static_cast<std::size_t>(word_segments[s] + g / 8 * lanes + lane)];
                  sum += rows[static_cast<std::size_t>(r)]
                             [table_segments[s] + g * 16 + (word >> g % 8 * 4 & 15)];
                }
              }
              if (add) sum = 2.5F + sum;
              ASSERT_EQ(outs[static_cast<std::size_t>(r)].data()[lane], sum)
                  << height << " x " << width << " at " << r << ", " << lane;
            }
          }
        }
      }
    }
  });
}

// -- the gradients

/// Both gradients on every row: within `precision` of sums in double relative to the magnitudes that are
/// summed, and the same to the last bit.
void check_gradients(const ConvCase& c, PaddingValue padding) {
  SCOPED_TRACE(c.text() + (padding == PaddingValue::one ? ", ones" : ""));
  const ops::Conv2d v = c.sizes();
  if (v.empty()) return;
  constexpr double precision = 0x1p-20;
  const Tensor dy = random_tensor({v.n, v.oh, v.ow, v.m}, 1);
  const Tensor x = random_bits({v.n, v.h, v.w, v.c}, 2);
  const Tensor w = random_bits({v.m, v.k()}, 3);
  const Tensor factors = random_tensor({v.m}, 4, -2, 2);
  std::vector<double> dx(static_cast<std::size_t>(x.count())), dx_sum(dx);
  std::vector<double> dw(static_cast<std::size_t>(w.count())), dw_sum(dw);
  for_each_product(v, [&](std::int64_t at_x, std::int64_t at_w, std::int64_t at_y) {
    const double g = dy.data<float>()[at_y];
    const auto to_w = static_cast<std::size_t>(at_w);
    dw_sum[to_w] += std::abs(g);  // what counts as −1 is given back
    if (at_x < 0) {
      if (padding == PaddingValue::one) dw[to_w] += g;
      return;
    }
    dw[to_w] += ops::reference::bit(x, at_x / v.c, at_x % v.c) ? g : -g;
    const double a = g * factors.data<float>()[at_w / v.k()];
    dx[static_cast<std::size_t>(at_x)] += ops::reference::bit(w, at_w / v.k(), at_w % v.k()) ? a : -a;
    dx_sum[static_cast<std::size_t>(at_x)] += std::abs(a);
  });
  std::vector<float> first_dx;
  std::vector<float> first_dw;
  for_each_row([&](const SignSumKernels& row) {
    const test::Guarded<float> out_x(dx.size());
    test::poison_cache();
    cpu::float_backward_input(row, v, dy.data<float>(), w.data<std::uint64_t>(), factors.data<float>(),
                              out_x.data());
    ASSERT_TRUE(out_x.intact());
    for (std::size_t i = 0; i < dx.size(); ++i)
      ASSERT_NEAR(out_x.data()[i], dx[i], dx_sum[i] * precision + 1e-30) << "dx " << i;
    const test::Guarded<float> out_w(dw.size());
    test::poison_cache();
    cpu::float_backward_weight(row, v, padding, dy.data<float>(), x.data<std::uint64_t>(), out_w.data());
    ASSERT_TRUE(out_w.intact());
    for (std::size_t i = 0; i < dw.size(); ++i)
      ASSERT_NEAR(out_w.data()[i], dw[i], dw_sum[i] * precision + 1e-30) << "dw " << i;
    if (first_dx.empty()) {
      first_dx = out_x.values();
      first_dw = out_w.values();
    }
    ASSERT_EQ(out_x.values(), first_dx);
    ASSERT_EQ(out_w.values(), first_dw);
  });
}

TEST(FloatGradient, AgreesWithDoubleOnRandomGeometries) {
  std::mt19937 random(7);
  for (std::uint32_t i = 0; i < 80; ++i) {
    constexpr std::int64_t channels[] = {1, 3, 8, 16, 17, 33, 64, 65, 100};
    check_gradients(test::random_conv(random, channels[i % 9]),
                    i % 3 == 0 ? PaddingValue::one : PaddingValue::zero);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(FloatGradient, AgreesWithDoubleOnOddOnes) {
  std::vector<ConvCase> cases = test::odd_convs;
  cases.insert(cases.end(), {
                                {2, 8, 8, 72, 70, {3, 3}, {.padding = {1, 1, 1, 1}}},  // beyond a panel
                                {3, 1, 1, 130, 67, {1, 1}, {}},                        // a matrix product
                                {70, 1, 1, 40, 9, {1, 1}, {}},                         // of many rows
                                {2, 6, 10, 9, 66, {1, 1}, {}},                         // one pixel
                                {1, 9, 9, 3, 2, {1, 3}, {.stride = {4, 4}}},  // places that no window reaches
                                {1, 130, 6, 3, 4, {3, 3}, {.padding = {1, 1, 1, 1}}},
                                {1, 4, 1500, 1, 2, {2, 3}, {.padding = {0, 1, 1, 1}}},  // rows beyond a chunk
                                {1, 2, 70, 20, 3, {2, 3}, {.dilation = {1, 40}, .padding = {0, 0, 20, 20}}},
                                {20, 8, 8, 40, 7, {3, 3}, {.padding = {1, 1, 1, 1}}},  // several chunks
                                {40, 8, 8, 20, 6, {1, 2}, {.groups = 2}},
                                {5, 3, 3, 300, 14, {1, 1}, {}},
                            });
  for (const ConvCase& c : cases) {
    for (const PaddingValue padding : {PaddingValue::zero, PaddingValue::one}) check_gradients(c, padding);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(FloatGradient, EveryThreadCountGivesTheSame) {
  const SignSumKernels& row = cpu::sign_sum_kernels().back();
  const SignSumKernels& kernels = test::available(row.isa) ? row : cpu::sign_sum_kernels().front();
  for (const ConvCase& c : {ConvCase{3, 12, 11, 66, 70, {3, 3}, {.padding = {1, 1, 1, 1}}},
                            ConvCase{1, 20, 9, 33, 12, {3, 2}, {.stride = {2, 1}, .padding = {1, 1, 0, 1}}},
                            ConvCase{7, 1, 1, 200, 40, {1, 1}, {}}}) {
    const ops::Conv2d v = c.sizes();
    const Tensor dy = random_tensor({v.n, v.oh, v.ow, v.m}, 1);
    const Tensor x = random_bits({v.n, v.h, v.w, v.c}, 2);
    const Tensor w = random_bits({v.m, v.k()}, 3);
    const Tensor factors = random_tensor({v.m}, 4);
    test::expect_same_on_all_thread_counts([&] {
      Tensor dx = Tensor::empty(DType::f32, {v.n, v.h, v.w, v.c});
      cpu::float_backward_input(kernels, v, dy.data<float>(), w.data<std::uint64_t>(), factors.data<float>(),
                                dx.data<float>());
      return dx;
    });
    test::expect_same_on_all_thread_counts([&] {
      Tensor dw = Tensor::empty(DType::f32, {v.m, v.k()});
      cpu::float_backward_weight(kernels, v, PaddingValue::zero, dy.data<float>(), x.data<std::uint64_t>(),
                                 dw.data<float>());
      return dw;
    });
  }
}

TEST(FloatGradient, ANumberThatIsNoneStaysWhereItBelongs) {
  const ConvCase c{2, 6, 6, 40, 10, {3, 3}, {.padding = {1, 1, 1, 1}}};
  const ops::Conv2d v = c.sizes();
  const Tensor dy = random_tensor({v.n, v.oh, v.ow, v.m}, 1);
  dy.data<float>()[(2 * 6 + 2) * 10 + 7] = std::numeric_limits<float>::quiet_NaN();  // image 0, channel 7
  const Tensor x = random_bits({v.n, v.h, v.w, v.c}, 2);
  const Tensor w = random_bits({v.m, v.k()}, 3);
  const Tensor factors = random_tensor({v.m}, 4);
  for_each_row([&](const SignSumKernels& row) {
    const Tensor dx = Tensor::empty(DType::f32, {v.n, v.h, v.w, v.c});
    cpu::float_backward_input(row, v, dy.data<float>(), w.data<std::uint64_t>(), factors.data<float>(),
                              dx.data<float>());
    for (std::int64_t i = 0; i < dx.count(); ++i) {
      const std::int64_t y = i / 40 / 6;
      const std::int64_t column = i / 40 % 6;
      ASSERT_EQ(std::isnan(dx.data<float>()[i]), y >= 1 && y <= 3 && column >= 1 && column <= 3) << i;
    }
    const Tensor dw = Tensor::empty(DType::f32, {v.m, v.k()});
    cpu::float_backward_weight(row, v, PaddingValue::zero, dy.data<float>(), x.data<std::uint64_t>(),
                               dw.data<float>());
    for (std::int64_t i = 0; i < dw.count(); ++i)
      ASSERT_EQ(std::isnan(dw.data<float>()[i]), i / v.k() == 7) << i;
  });
}

TEST(FloatGradient, IsWhatTheOperatorsUse) {
  const SignSumKernels* const row = cpu::selected_sign_sum();
  if (row == nullptr) GTEST_SKIP() << "no row for this CPU";
  const ConvCase c{2, 6, 7, 48, 20, {3, 3}, {.padding = {1, 1, 1, 1}}};
  const ops::Conv2d v = c.sizes();
  ASSERT_EQ(cpu::choose_sign_sums(v), row);
  const Tensor dy = random_tensor({v.n, v.oh, v.ow, v.m}, 1);
  const Tensor x = random_bits({v.n, v.h, v.w, v.c}, 2);
  const Tensor w = random_bits({v.m, v.k()}, 3);
  const Tensor scale = random_tensor({v.m}, 4);
  const Tensor minus = Tensor::empty(DType::f32, {v.m});
  for (std::int64_t i = 0; i < v.m; ++i) minus.data<float>()[i] = -3 * scale.data<float>()[i];
  const Tensor dx = Tensor::empty(DType::f32, {v.n, v.h, v.w, v.c});
  cpu::float_backward_input(*row, v, dy.data<float>(), w.data<std::uint64_t>(), minus.data<float>(),
                            dx.data<float>());
  EXPECT_EQ(test::bytes(
                ops::binary_conv2d_backward_input(dy, w, {-3}, scale, {v.h, v.w}, c.kernel, c.geometry, {})),
            test::bytes(dx));
  const Tensor dw = Tensor::empty(DType::f32, {v.m, v.k()});
  cpu::float_backward_weight(*row, v, PaddingValue::one, dy.data<float>(), x.data<std::uint64_t>(),
                             dw.data<float>());
  EXPECT_EQ(
      test::bytes(ops::binary_conv2d_backward_weight(dy, x, {}, c.kernel, c.geometry, PaddingValue::one, {})),
      test::bytes(dw));
}

}  // namespace
}  // namespace hardbit
