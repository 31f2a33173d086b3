#include "ops/binary_gradient.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "bit_cases.h"
#include "conv_cases.h"
#include "cpu/byte_gradient.h"
#include "cpu/byte_weights_cache.h"
#include "cuda/byte_gradient.h"
#include "cuda/recording.h"
#include "cuda/sign_gradient.h"
#include "guarded.h"
#include "ops/binary_conv2d.h"
#include "ops/bits.h"
#include "ops/conv2d.h"
#include "ops/dense.h"
#include "ops/discretize.h"
#include "ops/dispatch.h"
#include "ops/pool2d.h"
#include "ops/quantize.h"
#include "ops/quantize_weights.h"
#include "ops/reference.h"
#include "runtime/random.h"

namespace hardbit {
namespace {

using ops::GradientArithmetic;
using ops::GradientOptions;
using ops::PaddingValue;
using test::ConvCase;
using test::expect_error;
using test::for_each_product;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr GradientOptions bytes_options{GradientArithmetic::int8, 11, 3, (std::uint64_t{1} << 40) + 5};
constexpr GradientOptions float_options{GradientArithmetic::f32, 0, 0, 0};
constexpr GradientOptions bf16_options{GradientArithmetic::bf16, 0, 0, 0};
constexpr cpu::Draws draws{bytes_options.seed, bytes_options.step,
                           static_cast<std::uint32_t>(bytes_options.stream)};

// Operands are made on the cpu, where the oracles are; the operators run on the device of the tests.

Tensor random_tensor(Shape shape, std::uint32_t seed, float low = -1, float high = 1) {
  return test::random_tensor(std::move(shape), seed, low, high).to(Device::cpu);
}

Tensor cpu_floats(Shape shape, const std::vector<float>& values) {
  return Tensor::from_host(DType::f32, std::move(shape), values.data());
}

Tensor here(const Tensor& x) { return x.to(test::device()); }

namespace on_device {

ops::WeightScale here(const ops::WeightScale& scale) {
  const auto* const channels = std::get_if<Tensor>(&scale);
  return channels != nullptr ? ops::WeightScale(hardbit::here(*channels)) : scale;
}
using hardbit::here;

Tensor binary_conv2d_backward_input(const Tensor& dy, const Tensor& planes,
                                    const std::vector<double>& coefficients, const ops::WeightScale& scale,
                                    const ops::Pair& size, const ops::Pair& kernel,
                                    const ops::Conv2dGeometry& geometry, const GradientOptions& options) {
  return ops::binary_conv2d_backward_input(here(dy), here(planes), coefficients, here(scale), size, kernel,
                                           geometry, options)
      .to(Device::cpu);
}

Tensor binary_conv2d_backward_weight(const Tensor& dy, const Tensor& x, std::optional<int> bits,
                                     const ops::Pair& kernel, const ops::Conv2dGeometry& geometry,
                                     PaddingValue padding, const GradientOptions& options) {
  return ops::binary_conv2d_backward_weight(here(dy), here(x), bits, kernel, geometry, padding, options)
      .to(Device::cpu);
}

Tensor binary_matmul_backward_input(const Tensor& dy, const Tensor& planes,
                                    const std::vector<double>& coefficients, const ops::WeightScale& scale,
                                    const GradientOptions& options) {
  return ops::binary_matmul_backward_input(here(dy), here(planes), coefficients, here(scale), options)
      .to(Device::cpu);
}

Tensor binary_matmul_backward_weight(const Tensor& dy, const Tensor& x, std::optional<int> bits,
                                     const GradientOptions& options) {
  return ops::binary_matmul_backward_weight(here(dy), here(x), bits, options).to(Device::cpu);
}

ops::QuantizedGradient quantize_gradient(const Tensor& dy, ops::QuantizedBy by, int levels,
                                         std::uint64_t seed, std::uint64_t stream, std::uint64_t step) {
  const ops::QuantizedGradient result = ops::quantize_gradient(here(dy), by, levels, seed, stream, step);
  return {result.codes.to(Device::cpu), result.scales.to(Device::cpu)};
}

}  // namespace on_device

bool supported(GradientArithmetic arithmetic) {
  return ops::supports_gradient_arithmetic(arithmetic, test::device());
}

bool on_cpu() { return test::device() == Device::cpu; }

Tensor random_bits(Shape shape, std::uint32_t seed) {
  return ops::pack_signs(random_tensor(std::move(shape), seed));
}

Tensor random_codes(Shape shape, int bits, std::uint32_t seed) {
  return ops::discretize(random_tensor(std::move(shape), seed, 0, 1), bits);
}

/// Calls f(kernels) for every pair of rows this CPU runs.
template <class F>
void for_each_kernel(const F& f) {
  for (const cpu::ProductKernel& product : cpu::product_kernels()) {
    if (product.operand != cpu::Operand::bytes || !test::available(product.isa)) continue;
    for (const cpu::GradientKernels& gradient : cpu::gradient_kernels()) {
      if (!test::available(gradient.isa)) continue;
      SCOPED_TRACE(std::string(product.name) + ", " + gradient.name);
      f(cpu::ByteKernels{product, gradient});
    }
  }
}

template <class F>
void for_each_gradient_row(const F& f) {
  for (const cpu::GradientKernels& row : cpu::gradient_kernels()) {
    if (!test::available(row.isa)) continue;
    SCOPED_TRACE(row.name);
    f(row);
  }
}

// -- the rounding

/// The 16 bits of element i of row `row`, as ops/binary_gradient.h has them.
std::uint32_t draw(std::int64_t row, std::int64_t i, std::int64_t length) {
  const std::int64_t r = i / 16 % 4;
  const std::int64_t l = i % 16;
  const std::int64_t block = 16 * ((length + 127) / 128) * row + 16 * (i / 128) + 8 * (r / 2) + l / 2;
  const Philox::Block words =
      Philox(draws.key).row_block(static_cast<std::uint32_t>(block), draws.step, draws.stream);
  const std::uint32_t word = words[static_cast<std::size_t>(2 * (r % 2) + l % 2)];
  return i / 64 % 2 == 0 ? word & 0xFFFF : word >> 16;
}

/// q of `value` in steps of max / levels.
int rounded(float value, float most, int levels, std::uint32_t draw) {
  const float inverse = static_cast<float>(levels) / most;
  const double steps = std::floor(static_cast<double>(value * inverse * 65536.0F + 8388608.0F));
  return static_cast<int>(std::floor((std::min(steps, (128.0 + levels) * 65536) + draw) / 65536)) - 128;
}

TEST(QuantizeGradient, IsTheDocumentedFunctionOnEveryRow) {
  for (const Shape& shape :
       {Shape{3, 7}, Shape{2, 300}, Shape{2, 3, 5, 13}, Shape{2, 2, 4, 32}, Shape{1, 128}, Shape{5, 3, 1},
        Shape{2, 1, 2, 130}, Shape{2, 2, 3, 16}, Shape{1, 2, 3, 48}, Shape{2, 144}, Shape{2, 1, 2, 40},
        Shape{1, 1036}, Shape{2, 259}}) {
    const Tensor dy = random_tensor(shape, 5);
    const std::int64_t channels = shape.back();
    const std::int64_t length = shape.size() == 2 ? channels : shape[shape.size() - 2] * channels;
    const std::int64_t rows = dy.count() / length;
    const std::int64_t per = rows / shape[0];
    for (const bool by_sample : {true, false}) {
      for (const int levels : {1, 63, 127}) {
        const auto check = [&](const std::uint8_t* codes, const float* scales) {
          for (std::int64_t i = 0; i < dy.count(); ++i) {
            const std::int64_t of = by_sample ? i / length / per : i % channels;
            float most = 0;
            for (std::int64_t j = 0; j < dy.count(); ++j) {
              if ((by_sample ? j / length / per : j % channels) == of)
                most = std::max(most, std::abs(dy.data<float>()[j]));
            }
            ASSERT_EQ(scales[of], most / static_cast<float>(levels));
            ASSERT_EQ(codes[i] - 128,
                      rounded(dy.data<float>()[i], most, levels, draw(i / length, i % length, length)))
                << i;
          }
        };
        const auto [codes, scales] =
            on_device::quantize_gradient(dy, by_sample ? ops::QuantizedBy::sample : ops::QuantizedBy::channel,
                                         levels, draws.key, draws.stream, draws.step);
        check(codes.data<std::uint8_t>(), scales.data<float>());
        if (!on_cpu()) continue;
        for_each_gradient_row([&](const cpu::GradientKernels& kernels) {
          const test::Guarded<float> x(test::values<float>(dy));
          const test::Guarded<std::uint8_t> out(static_cast<std::size_t>(dy.count()));
          std::vector<float> found(static_cast<std::size_t>(by_sample ? shape[0] : channels));
          test::poison_cache();
          cpu::quantize_gradient(kernels, x.data(), rows, length, channels, by_sample ? per : 0, levels,
                                 draws, out.data(), found.data());
          ASSERT_TRUE(out.intact());
          check(out.data(), found.data());
        });
      }
    }
  }
}

TEST(QuantizeGradient, KeepsWholeStepsExactly) {
  std::vector<float> values;
  for (int i = -127; i <= 127; ++i) values.push_back(std::ldexp(static_cast<float>(i), -20));
  for (std::uint64_t step = 0; step < 50; ++step) {
    const auto [codes, scales] =
        on_device::quantize_gradient(cpu_floats({1, 255}, values), ops::QuantizedBy::sample, 127, 1, 2, step);
    ASSERT_EQ(scales.data<float>()[0], std::ldexp(1.0F, -20));
    for (int i = 0; i < 255; ++i) ASSERT_EQ(codes.data<std::uint8_t>()[i], i + 1);
  }
}

TEST(QuantizeGradient, IsUnbiased) {
  // 2^17 draws of one value between two steps; four standard deviations and the resolution of the draws.
  constexpr std::int64_t n = 1 << 17;
  for (const double value : {0.001, 0.25, 0.5, -0.3, 17.9, -126.6}) {
    std::vector<float> x(n, static_cast<float>(value));
    x[0] = 127;
    const auto [codes, scales] =
        on_device::quantize_gradient(cpu_floats({1, n}, x), ops::QuantizedBy::sample, 127, 7, 0, 1);
    ASSERT_EQ(scales.data<float>()[0], 1);
    double sum = 0;
    for (std::int64_t i = 1; i < n; ++i) {
      const double q = codes.data<std::uint8_t>()[i] - 128;
      ASSERT_LT(std::abs(q - value), 1);
      sum += q;
    }
    const double fraction = value - std::floor(value);
    const double deviation = std::sqrt(fraction * (1 - fraction) / static_cast<double>(n));
    EXPECT_NEAR(sum / static_cast<double>(n - 1), value, 4 * deviation + 0x1p-16);
  }
}

TEST(QuantizeGradient, StepsStreamsAndSeedsDrawAnew) {
  const Tensor dy = random_tensor({4, 512}, 1);
  const auto codes = [&](std::uint64_t seed, std::uint64_t stream, std::uint64_t step) {
    return test::bytes(
        on_device::quantize_gradient(dy, ops::QuantizedBy::sample, 127, seed, stream, step).codes);
  };
  const auto first = codes(1, 2, 3);
  EXPECT_EQ(codes(1, 2, 3), first);
  EXPECT_NE(codes(4, 2, 3), first);
  EXPECT_NE(codes(1, 4, 3), first);
  EXPECT_NE(codes(1, 2, 4), first);
  EXPECT_NE(codes(1, 2, 3 + (std::uint64_t{1} << 32)), first);
}

TEST(QuantizeGradient, TakesZerosTinyNumbersAndNoNumbers) {
  const float tiny = 0x1p-149F;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor dy = cpu_floats(
      {6, 2}, {0, 0, 127 * tiny, -5 * tiny, 0x1p-119F, -0x1p-119F, infinity, 1, nan, 0, 3e38F, -3e38F});
  const auto [codes, scales] = on_device::quantize_gradient(dy, ops::QuantizedBy::sample, 127, 1, 2, 3);
  const auto* const q = codes.data<std::uint8_t>();
  const auto* const s = scales.data<float>();
  EXPECT_EQ(std::vector<int>(q, q + 6), (std::vector<int>{128, 128, 255, 123, 255, 1}));
  EXPECT_EQ(s[0], 0);
  EXPECT_EQ(s[1], tiny);
  EXPECT_NEAR(s[2] / 0x1p-126F, 0x1p7 / 127, 1e-6);
  EXPECT_TRUE(std::isnan(s[3]));
  EXPECT_TRUE(std::isnan(s[4]));
  EXPECT_EQ(q[10], 255);
  EXPECT_EQ(q[11], 1);
}

// -- the other kernels

TEST(GradientKernels, TransposeAndUnpackOnEveryRow) {
  if (!on_cpu()) GTEST_SKIP() << "the cpu's own";
  std::mt19937 random(1);
  for (const std::int64_t n : {1, 2, 7, 8, 9, 16, 23}) {
    for (const std::int64_t columns : {1, 3, 8, 20, 63, 64, 65, 130}) {
      const std::int64_t pitch = n + 3;
      std::vector<std::uint8_t> x(static_cast<std::size_t>((n - 1) * (columns + 2) + columns));
      for (auto& v : x) v = static_cast<std::uint8_t>(random());
      const std::int64_t channels = std::min<std::int64_t>(columns, 64);
      std::vector<std::uint64_t> bits(static_cast<std::size_t>((n - 1) * 2 + 1));
      for (auto& v : bits) v = std::uint64_t{random()} << 32 | random();
      for_each_gradient_row([&](const cpu::GradientKernels& kernels) {
        const test::Guarded<std::uint8_t> from(x);
        const test::Guarded<std::uint8_t> to(static_cast<std::size_t>((columns - 1) * pitch + n));
        kernels.transpose(from.data(), columns + 2, n, columns, 0x80, to.data(), pitch);
        const test::Guarded<std::uint64_t> words(bits);
        const test::Guarded<std::uint8_t> bytes(static_cast<std::size_t>((channels - 1) * pitch + n));
        kernels.unpack(words.data(), 2, n, channels, 0xFF, 3, bytes.data(), pitch);
        ASSERT_TRUE(to.intact() && bytes.intact());
        for (std::int64_t c = 0; c < columns; ++c) {
          for (std::int64_t i = 0; i < pitch && c * pitch + i < static_cast<std::int64_t>(to.size()); ++i) {
            const int expected = i < n ? x[static_cast<std::size_t>(i * (columns + 2) + c)] ^ 0x80 : 0xA5;
            ASSERT_EQ(to.data()[c * pitch + i], expected);
            if (c >= channels || c * pitch + i >= static_cast<std::int64_t>(bytes.size())) continue;
            const bool one = i < n && (bits[static_cast<std::size_t>(2 * i)] >> c & 1) != 0;
            ASSERT_EQ(bytes.data()[c * pitch + i], i >= n ? 0xA5 : one ? 3 : 0xFF);
          }
        }
      });
    }
  }
}

TEST(GradientKernels, ScaleOnEveryRow) {
  if (!on_cpu()) GTEST_SKIP() << "the cpu's own";
  std::mt19937 random(1);
  for (const std::int64_t rows : {1, 15, 16, 17, 33}) {
    for (const std::int64_t columns : {1, 16, 40, 64}) {
      const std::int64_t pitch = columns + 3;
      std::vector<std::int32_t> sums(static_cast<std::size_t>((rows - 1) * pitch + columns));
      for (auto& v : sums) v = static_cast<std::int32_t>(random());
      std::vector<std::int32_t> minus(static_cast<std::size_t>(columns));
      for (auto& v : minus) v = static_cast<std::int32_t>(random());
      const auto scale = test::random_floats(columns, 1);
      const auto drop = test::random_floats(columns, 2);
      const auto before = test::random_floats(rows * columns, 3);
      for_each_gradient_row([&](const cpu::GradientKernels& kernels) {
        const test::Guarded<std::int32_t> from(sums);
        const test::Guarded<float> line(static_cast<std::size_t>(columns));
        kernels.scale(from.data(), scale[0], drop[0], columns, line.data());
        const test::Guarded<float> out(before);
        kernels.scale_transposed(from.data(), rows, pitch, columns, minus.data(), scale.data(), drop.data(),
                                 true, rows, out.data());
        const test::Guarded<float> fresh(before.size());
        kernels.scale_transposed(from.data(), rows, pitch, columns, minus.data(), scale.data(), drop.data(),
                                 false, rows, fresh.data());
        ASSERT_TRUE(line.intact() && out.intact() && fresh.intact());
        for (std::size_t c = 0; c < minus.size(); ++c) {
          ASSERT_EQ(line.data()[c], static_cast<float>(sums[c]) * scale[0] * drop[0]);
          for (std::int64_t r = 0; r < rows; ++r) {
            const auto sum = static_cast<std::uint32_t>(sums[static_cast<std::size_t>(r * pitch) + c]);
            const auto n = static_cast<std::int32_t>(sum - static_cast<std::uint32_t>(minus[c]));
            const float expected = static_cast<float>(n) * scale[c] * drop[c];
            const std::size_t at = c * static_cast<std::size_t>(rows) + static_cast<std::size_t>(r);
            ASSERT_EQ(fresh.data()[at], expected);
            ASSERT_EQ(out.data()[at], before[at] + expected);
          }
        }
      });
    }
  }
}

/// Rows of a large gradient, which may go past the caches.
TEST(GradientKernels, ScaleToFarRowsOnEveryRow) {
  if (!on_cpu()) GTEST_SKIP() << "the cpu's own";
  std::mt19937 random(1);
  constexpr std::int64_t stride = 8192;
  for (const std::int64_t rows : {16, 32, 33}) {
    for (const std::int64_t columns : {16, 40}) {
      std::vector<std::int32_t> sums(static_cast<std::size_t>(rows * columns));
      for (auto& v : sums) v = static_cast<std::int32_t>(random());
      const std::vector<std::int32_t> minus(static_cast<std::size_t>(columns), 3);
      const auto scale = test::random_floats(columns, 1);
      const auto drop = test::random_floats(columns, 2);
      for_each_gradient_row([&](const cpu::GradientKernels& kernels) {
        const test::Guarded<float> out(static_cast<std::size_t>((columns - 1) * stride + rows));
        float untouched;
        std::memcpy(&untouched, out.data() + rows, sizeof untouched);
        kernels.scale_transposed(sums.data(), rows, columns, columns, minus.data(), scale.data(), drop.data(),
                                 false, stride, out.data());
        ASSERT_TRUE(out.intact());
        for (std::size_t i = 0; i < out.size(); ++i) {
          const std::size_t c = i / stride;
          const std::size_t r = i % stride;
          if (r >= static_cast<std::size_t>(rows)) {
            ASSERT_EQ(out.data()[i], untouched);
            continue;
          }
          const auto sum = static_cast<std::uint32_t>(sums[r * static_cast<std::size_t>(columns) + c]);
          ASSERT_EQ(out.data()[i],
                    static_cast<float>(static_cast<std::int32_t>(sum - 3)) * scale[c] * drop[c]);
        }
      });
    }
  }
}

// -- convolutions

std::vector<std::int64_t> integers(const Tensor& codes) {
  std::vector<std::int64_t> q;
  for (const std::uint8_t code : codes.span<const std::uint8_t>()) q.push_back(std::int64_t{code} - 128);
  return q;
}

/// Σ_p c_p·s_p of weight `at` [M, K].
std::int64_t weight(const Tensor& planes, std::span<const int> coefficients, std::int64_t m,
                    std::int64_t at) {
  const std::int64_t k = planes.dim(1);
  std::int64_t sum = 0;
  for (std::size_t p = 0; p < coefficients.size(); ++p) {
    const std::int64_t row = static_cast<std::int64_t>(p) * m + at / k;
    sum += ops::reference::bit(planes, row, at % k) ? coefficients[p] : -coefficients[p];
  }
  return sum;
}

/// Rounded as documented, summed in 64-bit integers, scaled.
void check_input(const ConvCase& c, const std::vector<int>& coefficients, bool by_channel) {
  SCOPED_TRACE(c.text());
  const ops::Conv2d v = c.sizes();
  if (v.empty()) return;
  const Tensor dy = random_tensor({v.n, v.oh, v.ow, v.m}, 4);
  const Tensor planes = random_bits({static_cast<std::int64_t>(coefficients.size()) * v.m, v.k()}, 5);
  const Tensor alpha = random_tensor({v.m}, 6, 0.5F, 2);
  const ops::QuantizedGradient quantized =
      ops::quantize_gradient(by_channel ? ops::scale_channels(dy, alpha) : dy, ops::QuantizedBy::sample, 127,
                             bytes_options.seed, bytes_options.stream, bytes_options.step);
  const Tensor& scales = quantized.scales;
  const auto q = integers(quantized.codes);
  std::vector<std::int64_t> sums(static_cast<std::size_t>(v.n * v.h * v.w * v.c));
  for_each_product(v, [&](std::int64_t at_x, std::int64_t at_w, std::int64_t at_y) {
    if (at_x < 0) return;
    sums[static_cast<std::size_t>(at_x)] +=
        q[static_cast<std::size_t>(at_y)] * weight(planes, coefficients, v.m, at_w);
  });
  const float common = by_channel ? 1.0F : 0.375F;
  const auto check = [&](const float* out) {
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const float scale = scales.data<float>()[i / static_cast<std::size_t>(v.h * v.w * v.c)] * common;
      ASSERT_EQ(out[i], static_cast<float>(sums[i]) * scale) << i;
    }
  };
  ops::dispatch(
      test::device(),
      [&] {
        for_each_kernel([&](const cpu::ByteKernels& kernels) {
          const test::Guarded<float> out(sums.size());
          test::poison_cache();
          const cpu::InputGradientWeights weights(kernels, v, planes.data<std::uint64_t>(), coefficients);
          cpu::byte_backward_input(kernels, v, dy.data<float>(), by_channel ? alpha.data<float>() : nullptr,
                                   weights, common, draws, out.data());
          ASSERT_TRUE(out.intact());
          check(out.data());
        });
      },
      [&] {
        const Tensor out = Tensor::empty(DType::f32, {v.n, v.h, v.w, v.c}, Device::cuda);
        const Tensor g = here(dy);
        const Tensor w = here(planes);
        const Tensor a = here(alpha);
        cuda::byte_backward_input(v, g.data<float>(), by_channel ? a.data<float>() : nullptr,
                                  w.data<std::uint64_t>(), coefficients, common, draws, out.data<float>());
        check(test::values<float>(out).data());
      });
}

void check_weight(const ConvCase& c, PaddingValue padding, int bits) {
  SCOPED_TRACE(c.text() + " bits " + std::to_string(bits) + (padding == PaddingValue::one ? ", ones" : ""));
  const ops::Conv2d v = c.sizes();
  if (v.empty()) return;
  const Tensor dy = random_tensor({v.n, v.oh, v.ow, v.m}, 4);
  const Tensor x =
      bits == 0 ? random_bits({v.n, v.h, v.w, v.c}, 5) : random_codes({v.n, v.h, v.w, v.c}, bits, 5);
  const ops::QuantizedGradient quantized =
      ops::quantize_gradient(dy, ops::QuantizedBy::channel, bits == 8 ? 63 : 127, bytes_options.seed,
                             bytes_options.stream, bytes_options.step);
  const Tensor& scales = quantized.scales;
  const auto q = integers(quantized.codes);
  std::vector<std::int64_t> sums(static_cast<std::size_t>(v.m * v.k()));
  for_each_product(v, [&](std::int64_t at_x, std::int64_t at_w, std::int64_t at_y) {
    const std::int64_t pad = padding == PaddingValue::zero ? 0 : bits == 0 ? 1 : (1 << bits) - 1;
    const std::int64_t value = at_x < 0    ? pad
                               : bits == 0 ? (ops::reference::bit(x, at_x / v.c, at_x % v.c) ? 1 : -1)
                                           : x.data<std::uint8_t>()[at_x];
    sums[static_cast<std::size_t>(at_w)] += value * q[static_cast<std::size_t>(at_y)];
  });
  const float unit = bits == 0 ? 1.0F : 1.0F / static_cast<float>((1 << bits) - 1);
  const auto check = [&](const float* out) {
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const float scale = scales.data<float>()[i / static_cast<std::size_t>(v.k())] * unit;
      ASSERT_EQ(out[i], static_cast<float>(sums[i]) * scale) << i;
    }
  };
  if (!on_cpu()) {
    const std::optional<int> of_codes = bits == 0 ? std::nullopt : std::optional(bits);
    check(on_device::binary_conv2d_backward_weight(dy, x, of_codes, c.kernel, c.geometry, padding,
                                                   bytes_options)
              .data<float>());
    return;
  }
  for_each_kernel([&](const cpu::ByteKernels& kernels) {
    const test::Guarded<float> out(sums.size());
    test::poison_cache();
    cpu::byte_backward_weight(
        kernels, v, padding, dy.data<float>(),
        {bits == 0 ? x.data<std::uint64_t>() : nullptr, bits == 0 ? nullptr : x.data<std::uint8_t>(), bits},
        draws, out.data());
    ASSERT_TRUE(out.intact());
    check(out.data());
  });
}

void check_both(const ConvCase& c, std::uint32_t i) {
  const std::vector<int> coefficients[] = {{1}, {1, 1}, {1, 2, -4}, {-64}, {3}};
  check_input(c, coefficients[i % 5], i % 2 == 0);
  constexpr int bits[] = {0, 0, 1, 2, 4, 7, 8};
  check_weight(c, i % 3 == 0 ? PaddingValue::one : PaddingValue::zero, bits[i % 7]);
}

TEST(ByteGradient, EqualsIntegersOnRandomGeometries) {
  std::mt19937 random(2);
  for (std::uint32_t i = 0; i < 120; ++i) {
    constexpr std::int64_t channels[] = {1, 2, 3, 5, 8, 17, 64, 65};
    check_both(test::random_conv(random, channels[i % 8]), i);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(ByteGradient, EqualsIntegersOnOddOnes) {
  std::uint32_t i = 0;
  for (const ConvCase& c : test::odd_convs) {
    check_both(c, i++);
    if (testing::Test::HasFailure()) return;
  }
  const std::vector<ConvCase> more = {
      {2, 8, 8, 72, 70, {3, 3}, {.padding = {1, 1, 1, 1}}},  // more channels than a panel
      {3, 1, 1, 130, 67, {1, 1}, {}},                        // a matrix product
      {70, 1, 1, 5, 9, {1, 1}, {}},                          // of many rows
      {2, 6, 10, 9, 66, {1, 1}, {}},                         // one pixel
      {1, 9, 9, 3, 2, {1, 3}, {.stride = {4, 4}}},           // places that no window reaches
      {1, 130, 6, 3, 4, {3, 3}, {.padding = {1, 1, 1, 1}}},
      {1, 4, 4100, 1, 2, {2, 3}, {.padding = {0, 1, 1, 1}}},  // a row longer than a chunk
      {5, 1, 1, 1100, 40, {1, 1}, {}},                        // more inputs than a block
      {20, 8, 8, 130, 20, {3, 3}, {.padding = {1, 1, 1, 1}}},
      {200, 8, 8, 20, 18, {1, 2}, {.groups = 2}},  // several chunks
  };
  for (const ConvCase& c : more) {
    check_both(c, i++);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(ByteGradient, LongBatchesGoInChunks) {
  check_weight({70, 9, 9, 2, 3, {3, 3}, {.padding = {1, 1, 1, 1}}}, PaddingValue::zero, 0);
  check_weight({1, 90, 90, 2, 3, {3, 3}, {.padding = {1, 1, 1, 1}}}, PaddingValue::one, 0);
  // Sums of codes of 8 bits leave 32 bits beyond 133,000 pixels and are added up as floats from there on.
  const Tensor dy = cpu_floats({40, 64, 64, 1}, std::vector<float>(40 * 64 * 64, 1.0F));
  const Tensor x = Tensor::empty(DType::u8, {40, 64, 64, 1});
  std::fill_n(x.data<std::uint8_t>(), x.count(), std::uint8_t{255});
  const Tensor dw =
      on_device::binary_conv2d_backward_weight(dy, x, 8, {1, 1}, {}, PaddingValue::zero, bytes_options);
  EXPECT_NEAR(dw.data<float>()[0], 40 * 64 * 64, 1);
}

TEST(ByteGradient, EveryThreadCountGivesTheSame) {
  if (!on_cpu()) GTEST_SKIP() << "the cpu's own";
  const Tensor dy = random_tensor({3, 12, 11, 70}, 1);
  const Tensor x = random_bits({3, 12, 11, 66}, 2);
  const Tensor w = random_bits({70, 9 * 66}, 3);
  const ops::Conv2dGeometry geometry{.padding = {1, 1, 1, 1}};
  test::expect_same_on_all_thread_counts([&] {
    return on_device::binary_conv2d_backward_input(dy, w, {1}, 1.0, {12, 11}, {3, 3}, geometry,
                                                   bytes_options);
  });
  test::expect_same_on_all_thread_counts([&] {
    return on_device::binary_conv2d_backward_weight(dy, x, {}, {3, 3}, geometry, PaddingValue::zero,
                                                    bytes_options);
  });
  const Tensor one = random_tensor({1, 40, 11, 70}, 1);  // bands of one image
  test::expect_same_on_all_thread_counts([&] {
    return on_device::binary_conv2d_backward_input(one, w, {1}, 1.0, {40, 11}, {3, 3}, geometry,
                                                   bytes_options);
  });
}

/// Whether all bytes are the same but those of NaNs.
testing::AssertionResult same(const Tensor& a, const Tensor& b) {
  const auto x = test::values<float>(a);
  const auto y = test::values<float>(b);
  for (std::size_t i = 0; i < std::max(x.size(), y.size()); ++i) {
    if (i >= x.size() || i >= y.size()) return testing::AssertionFailure() << "of different sizes";
    if (std::isnan(x[i]) && std::isnan(y[i])) continue;
    if (std::bit_cast<std::uint32_t>(x[i]) != std::bit_cast<std::uint32_t>(y[i])) {
      return testing::AssertionFailure() << x[i] << " and " << y[i] << " at " << i << " of " << x.size();
    }
  }
  return testing::AssertionSuccess();
}

TEST(ByteGradient, TheGpuComputesWhatTheCpuDoes) {
  if (on_cpu()) GTEST_SKIP() << "of two devices";
  const std::vector<ConvCase> cases = {
      {2, 9, 10, 130, 140, {3, 3}, {.padding = {1, 1, 1, 1}}},  // the widest tiles, and one more channel
      {5, 12, 12, 64, 65, {3, 3}, {.stride = {2, 2}, .padding = {1, 1, 1, 1}}},
      {2, 8, 8, 128, 128, {1, 1}, {.stride = {2, 1}}},
      {1, 6, 7, 48, 64, {5, 2}, {.stride = {3, 2}, .dilation = {2, 3}, .padding = {4, 0, 3, 1}}},
      {3, 5, 5, 34, 18, {3, 3}, {.padding = {1, 1, 1, 1}, .groups = 2}},
      {9, 7, 3, 16, 32, {2, 2}, {.stride = {2, 4}, .dilation = {4, 2}, .padding = {2, 3, 2, 1}}},
      {1, 3, 300, 5, 6, {3, 3}, {.padding = {1, 1, 1, 1}}},
  };
  std::uint32_t i = 0;
  for (const ConvCase& c : cases) {
    SCOPED_TRACE(c.text());
    const ops::Conv2d v = c.sizes();
    Tensor dy = random_tensor({v.n, v.oh, v.ow, v.m}, 1, -3, 3);
    // Samples of their own scales, and one without numbers.
    for (std::int64_t k = 0; k < dy.count() / v.n; ++k) dy.data<float>()[k] *= i % 2 == 0 ? 0x1p-130F : 1e20F;
    if (i % 3 == 1) dy.data<float>()[dy.count() - 5] = i % 2 == 0 ? infinity : -std::nanf("");
    const std::int64_t planes_count = 1 + i % 3;
    const std::vector<double> coefficients = {i % 2 == 0 ? 1.0 : -3.0, 0, 16};
    const Tensor planes = random_bits({planes_count * v.m, v.k()}, 2);
    const ops::WeightScale scale =
        i % 2 == 0 ? ops::WeightScale(-0.7) : ops::WeightScale(random_tensor({v.m}, 3));
    const auto input = [&](auto gradient) {
      return gradient(dy, planes,
                      std::vector<double>(coefficients.begin(), coefficients.begin() + planes_count), scale,
                      ops::Pair{v.h, v.w}, c.kernel, c.geometry, bytes_options);
    };
    const Tensor dx = input(ops::binary_conv2d_backward_input);
    EXPECT_TRUE(same(input(on_device::binary_conv2d_backward_input), dx));
    EXPECT_TRUE(same(input(on_device::binary_conv2d_backward_input), dx));  // in another order
    for (const int bits : {0, 1, 3, 8}) {
      const Tensor x =
          bits == 0 ? random_bits({v.n, v.h, v.w, v.c}, 5) : random_codes({v.n, v.h, v.w, v.c}, bits, 5);
      for (const PaddingValue padding : {PaddingValue::zero, PaddingValue::one}) {
        const auto weight = [&](auto gradient) {
          return gradient(dy, x, bits == 0 ? std::nullopt : std::optional(bits), c.kernel, c.geometry,
                          padding, bytes_options);
        };
        EXPECT_TRUE(same(weight(on_device::binary_conv2d_backward_weight),
                         weight(ops::binary_conv2d_backward_weight)))
            << bits << " bits";
      }
    }
    if (testing::Test::HasFailure()) return;
    ++i;
  }
  // Products, of odd sizes and of several tiles.
  for (const auto& [n, k, m] : {std::array{1, 1, 1}, {7, 33, 10}, {130, 70, 129}, {64, 257, 64}}) {
    const Tensor dy = random_tensor({n, m}, 1);
    const Tensor w = random_bits({m, k}, 2);
    const Tensor x = random_bits({n, k}, 3);
    const Tensor codes = random_codes({n, k}, 5, 4);
    EXPECT_TRUE(same(on_device::binary_matmul_backward_input(dy, w, {1}, 0.5, bytes_options),
                     ops::binary_matmul_backward_input(dy, w, {1}, 0.5, bytes_options)));
    EXPECT_TRUE(same(on_device::binary_matmul_backward_weight(dy, x, {}, bytes_options),
                     ops::binary_matmul_backward_weight(dy, x, {}, bytes_options)));
    EXPECT_TRUE(same(on_device::binary_matmul_backward_weight(dy, codes, 5, bytes_options),
                     ops::binary_matmul_backward_weight(dy, codes, 5, bytes_options)));
  }
}

TEST(ByteGradient, TilesOfSignsOnTheGpuComputeWhatTheCpuDoes) {
  ops::dispatch(
      test::device(), [] { GTEST_SKIP() << "of two devices"; },
      [] {
        struct Restore {
          std::int64_t before = cuda::most_turned_bytes;
          ~Restore() { cuda::most_turned_bytes = before; }
        } restore;
        const std::vector<ConvCase> cases = {
            {3, 16, 16, 128, 128, {3, 3}, {.padding = {1, 1, 1, 1}}},  // whole tiles, several
            {5, 8, 8, 96, 200, {3, 3}, {.padding = {1, 1, 1, 1}}},     // dy in two chunks
            {2, 7, 13, 140, 70, {5, 3}, {.dilation = {1, 2}, .padding = {3, 1, 4, 0}}},
            {2, 8, 6, 150, 136, {3, 3}, {.padding = {1, 0, 0, 1}, .groups = 2}},
            {1, 24, 8, 68, 20, {1, 1}, {}},
            {25, 8, 8, 130, 140, {2, 1}, {.padding = {1, 0, 0, 0}}},  // several tiles a block
            {27, 7, 8, 140, 30, {1, 2}, {.padding = {0, 0, 1, 0}}},   // of one chunk
            {1, 10, 8, 70, 66, {2, 4}, {.padding = {0, 1, 2, 3}}},
            {2, 36, 33, 17, 66, {1, 2}, {.padding = {0, 0, 1, 1}}},  // parts that add up
            {1, 9, 8, 40, 140, {3, 2}, {.stride = {2, 3}, .padding = {1, 2, 1, 0}, .groups = 2}},
            {3, 1, 1, 130, 90, {1, 1}, {}},
            {2, 32, 33, 3, 70, {3, 3}, {.padding = {1, 1, 1, 1}}},  // codes of images
            {1, 9, 10, 10, 200, {5, 3}, {.stride = {2, 1}, .padding = {2, 1, 0, 3}, .groups = 2}},
        };
        std::uint32_t i = 0;
        for (const ConvCase& c : cases) {
          SCOPED_TRACE(c.text());
          const ops::Conv2d v = c.sizes();
          const Tensor dy = random_tensor({v.n, v.oh, v.ow, v.m}, 1, -3, 3);
          const std::vector<double> coefficients =
              i % 2 == 0 ? std::vector<double>{-1} : std::vector<double>{0, 16};
          const Tensor planes = random_bits({static_cast<std::int64_t>(coefficients.size()) * v.m, v.k()}, 2);
          const auto input = [&](auto gradient) {
            return gradient(dy, planes, coefficients, ops::WeightScale(0.7), ops::Pair{v.h, v.w}, c.kernel,
                            c.geometry, bytes_options);
          };
          if (v.c > 4) {  // else in float
            EXPECT_TRUE(same(input(on_device::binary_conv2d_backward_input),
                             input(ops::binary_conv2d_backward_input)));
          }
          for (const int bits : {0, 3, 8}) {
            if (bits != 0 && v.k() > 256) continue;  // they go another way
            const Tensor x = bits == 0 ? random_bits({v.n, v.h, v.w, v.c}, 5)
                                       : random_codes({v.n, v.h, v.w, v.c}, bits, 5);
            for (const PaddingValue padding : {PaddingValue::zero, PaddingValue::one}) {
              const auto weight = [&](auto gradient) {
                return gradient(dy, x, bits == 0 ? std::nullopt : std::optional(bits), c.kernel, c.geometry,
                                padding, bytes_options);
              };
              const Tensor dw = weight(ops::binary_conv2d_backward_weight);
              cuda::most_turned_bytes = restore.before;
              EXPECT_TRUE(same(weight(on_device::binary_conv2d_backward_weight), dw)) << bits << " bits";
              cuda::most_turned_bytes = 1;  // a chunk at a time
              EXPECT_TRUE(same(weight(on_device::binary_conv2d_backward_weight), dw)) << bits << " bits";
            }
          }
          if (testing::Test::HasFailure()) return;
          ++i;
        }
      });
}

TEST(ByteGradient, CanBeRecordedOnTheGpu) {
  ops::dispatch(
      test::device(), [] { GTEST_SKIP() << "the gpu's own"; },
      [] {
        const Tensor dy = here(random_tensor({2, 6, 6, 10}, 1));
        const Tensor w = here(random_bits({10, 54}, 2));
        const Tensor x = here(random_codes({2, 6, 6, 6}, 3, 3));
        const ops::Conv2dGeometry geometry{.padding = {1, 1, 1, 1}};
        const auto both = [&] {
          return std::pair{
              ops::binary_conv2d_backward_input(dy, w, {1}, 1.0, {6, 6}, {3, 3}, geometry, bytes_options),
              ops::binary_conv2d_backward_weight(dy, x, 3, {3, 3}, geometry, PaddingValue::one,
                                                 bytes_options)};
        };
        cuda::RecordedGraph graph;
        std::pair<Tensor, Tensor> recorded;
        {
          cuda::Recording recording;
          recorded = both();
          graph = recording.finish();
        }
        dy.write_host(test::random_floats(dy.count(), 4).data());
        graph.run();
        const auto expected = both();
        EXPECT_TRUE(same(recorded.first, expected.first));
        EXPECT_TRUE(same(recorded.second, expected.second));
      });
}

TEST(ByteGradient, ReportsCodesThatDoNotFit) {
  if (on_cpu()) GTEST_SKIP() << "of the gpu: the cpu refuses them at once";
  const Tensor dy = random_tensor({3, 8}, 1);
  for (const std::int64_t k : {5, 16, 37}) {
    for (const std::int64_t place : {std::int64_t{0}, 3 * k - 1}) {
      const Tensor codes = random_codes({3, k}, 3, 2);
      codes.data<std::uint8_t>()[place] = 8;
      expect_error("ERR_HARDBIT_ARGUMENT",
                   [&] { on_device::binary_matmul_backward_weight(dy, codes, 3, bytes_options); });
      codes.data<std::uint8_t>()[place] = 7;
      EXPECT_NO_THROW(on_device::binary_matmul_backward_weight(dy, codes, 3, bytes_options));
    }
  }
}

TEST(ByteGradient, OfPooledOutputsIsThatOfAllOutputs) {
  struct Case {
    ConvCase conv;
    ops::Pool2dGeometry pool;
  };
  const ops::Pool2dGeometry squares{.kernel = {2, 2}, .stride = {2, 2}};
  const std::array<std::int64_t, 4> same_size{1, 1, 1, 1};
  const std::vector<Case> cases = {
      // Channels in 128s, in 16s and in neither; pixels beyond the last windows.
      {{3, 4, 6, 20, 128, {3, 3}, {.padding = same_size}}, squares},
      {{2, 6, 2, 64, 384, {1, 1}, {}}, squares},
      {{2, 4, 4, 32, 256, {3, 3}, {.padding = same_size, .groups = 2}}, squares},
      {{2, 5, 4, 16, 128, {3, 3}, {.padding = same_size}}, squares},
      {{2, 4, 7, 16, 128, {3, 3}, {.padding = same_size}}, squares},
      {{2, 8, 8, 16, 64, {3, 3}, {.padding = same_size}}, squares},
      {{2, 5, 7, 16, 48, {3, 3}, {.padding = same_size}}, squares},
      {{2, 6, 6, 16, 160, {3, 3}, {.padding = same_size, .groups = 2}}, squares},
      {{3, 7, 9, 34, 18, {3, 3}, {.padding = same_size, .groups = 2}}, squares},
      {{2, 6, 6, 6, 7, {2, 2}, {.stride = {1, 2}, .dilation = {2, 1}}}, squares},
      {{2, 9, 8, 8, 128, {1, 1}, {}}, {.kernel = {3, 2}, .stride = {3, 2}}},
      {{1, 7, 7, 8, 33, {1, 1}, {}}, {.kernel = {1, 5}, .stride = {1, 5}}},
      {{2, 3, 4, 8, 10, {1, 1}, {}}, {.kernel = {3, 4}, .stride = {3, 4}}},
      {{2, 4, 4, 3, 128, {3, 3}, {.padding = same_size}}, squares},  // summed in fp32
      // Windows that overlap, leave pixels out, or are padded.
      {{2, 7, 7, 8, 16, {3, 3}, {.padding = same_size}},
       {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1, 1, 1}}},
      {{2, 7, 8, 8, 16, {3, 3}, {.padding = same_size}}, {.kernel = {2, 2}, .stride = {3, 3}}},
      {{2, 4, 4, 8, 128, {1, 1}, {}}, {.kernel = {2, 2}, .stride = {2, 2}, .padding = {1, 1, 1, 1}}},
  };
  std::uint32_t i = 0;
  for (const auto& [c, pool] : cases) {
    SCOPED_TRACE(c.text());
    const ops::Conv2d v = c.sizes();
    const Tensor x = random_bits({v.n, v.h, v.w, v.c}, 5);
    const Tensor planes = random_bits({v.m, v.k()}, 2);
    const auto [y, index] = ops::binary_conv2d_pool(here(x), std::nullopt, here(planes), c.kernel, c.geometry,
                                                    PaddingValue::zero, pool, true);
    const auto apart =
        ops::max_pool2d(ops::binary_conv2d(x, planes, c.kernel, c.geometry, PaddingValue::zero), pool, true);
    ASSERT_EQ(test::bytes(y), test::bytes(apart.y));
    ASSERT_EQ(test::bytes(*index), test::bytes(*apart.index));
    EXPECT_FALSE(ops::binary_conv2d_pool(here(x), std::nullopt, here(planes), c.kernel, c.geometry,
                                         PaddingValue::zero, pool, false)
                     .index);

    Tensor dy = random_tensor(apart.y.shape(), 1, -3, 3);
    // Samples of their own scales, and one without numbers.
    for (std::int64_t k = 0; k < dy.count() / v.n; ++k) dy.data<float>()[k] *= i % 2 == 0 ? 0x1p-130F : 1e20F;
    for (std::int64_t k = 0; k < dy.count(); k += 5) dy.data<float>()[k] = -0.0F;
    if (i % 3 == 1) dy.data<float>()[dy.count() - 5] = i % 2 == 0 ? infinity : -std::nanf("");
    const Tensor full = ops::max_pool2d_backward(dy, *apart.index, {v.oh, v.ow}, pool);
    const ops::MaxPooling pooling{pool, *index};
    for (const GradientOptions& options : {bytes_options, float_options}) {
      for (const ops::WeightScale& scale :
           {ops::WeightScale(-0.7), ops::WeightScale(random_tensor({v.m}, 3))}) {
        const ops::Pair size{v.h, v.w};
        const Tensor expected = on_device::binary_conv2d_backward_input(full, planes, {3}, scale, size,
                                                                        c.kernel, c.geometry, options);
        const Tensor dx = ops::binary_conv2d_pool_backward_input(here(dy), pooling, here(planes), {3},
                                                                 on_device::here(scale), size, c.kernel,
                                                                 c.geometry, options);
        EXPECT_TRUE(same(dx, expected));
      }
      for (const int bits : {0, 8}) {
        const Tensor inputs = bits == 0 ? x : random_codes({v.n, v.h, v.w, v.c}, bits, 5);
        const std::optional<int> of_codes = bits == 0 ? std::nullopt : std::optional(bits);
        const Tensor expected = on_device::binary_conv2d_backward_weight(
            full, inputs, of_codes, c.kernel, c.geometry, PaddingValue::one, options);
        const Tensor dw = ops::binary_conv2d_pool_backward_weight(
            here(dy), pooling, here(inputs), of_codes, c.kernel, c.geometry, PaddingValue::one, options);
        EXPECT_TRUE(same(dw, expected)) << bits << " bits";
      }
    }
    ++i;
  }
}

TEST(ByteGradient, RefusesWhatPoolingDidNotLeave) {
  const ops::Pool2dGeometry pool{.kernel = {2, 2}, .stride = {2, 2}};
  const auto weight = [&](const Tensor& dy, const Tensor& index) {
    test::bytes(ops::binary_conv2d_pool_backward_weight(here(dy), {pool, here(index)},
                                                        here(random_bits({2, 4, 4, 5}, 1)), std::nullopt,
                                                        {1, 1}, {}, PaddingValue::zero, bytes_options));
  };
  for (const std::int64_t m : {3, 128}) {
    const Tensor dy = random_tensor({2, 2, 2, m}, 1);
    const Tensor index = Tensor::zeros(DType::u8, {2, 2, 2, m});
    EXPECT_NO_THROW(weight(dy, index));
    expect_error("ERR_HARDBIT_SHAPE", [&] { weight(random_tensor({2, 4, 4, m}, 1), index); });
    expect_error("ERR_HARDBIT_SHAPE", [&] { weight(random_tensor({1, 2, 2, m}, 1), index); });
    expect_error("ERR_HARDBIT_SHAPE", [&] { weight(dy, Tensor::zeros(DType::u8, {2, 2, 2, 4})); });
    expect_error("ERR_HARDBIT_DTYPE", [&] { weight(dy, dy); });
    index.data<std::uint8_t>()[index.count() - 1] = 4;
    expect_error("ERR_HARDBIT_ARGUMENT", [&] { weight(dy, index); });
  }
}

TEST(ByteGradient, SumsBeyond32BitsAreAddedAsFloatsOnEveryDevice) {
  if (on_cpu()) GTEST_SKIP() << "of two devices";
  // 8 bits allow 133,675 pixels: two images and some rows, then the rest.
  const Tensor dy = random_tensor({3, 200, 230, 3}, 1, -1, 3);
  const Tensor x = random_codes({3, 200, 230, 2}, 8, 2);
  const auto weight = [&](auto gradient) {
    return gradient(dy, x, 8, ops::Pair{1, 1}, ops::Conv2dGeometry{}, PaddingValue::zero, bytes_options);
  };
  EXPECT_TRUE(
      same(weight(on_device::binary_conv2d_backward_weight), weight(ops::binary_conv2d_backward_weight)));
}

TEST(ByteGradient, StaysWithinTheStepOfItsRounding) {
  // Against the exact gradient in double: an element is off by less than a step, K of them by far less than
  // K.
  const ConvCase c{4, 9, 9, 33, 40, {3, 3}, {.padding = {1, 1, 1, 1}}};
  const ops::Conv2d v = c.sizes();
  Tensor dy = random_tensor({v.n, v.oh, v.ow, v.m}, 1);
  for (std::int64_t i = 0; i < dy.count() / 4; ++i)
    dy.data<float>()[i] *= 1e-30F;  // a sample of its own scale
  const Tensor x = random_bits({v.n, v.h, v.w, v.c}, 2);
  const Tensor w = random_bits({v.m, v.k()}, 3);
  const Tensor dx = on_device::binary_conv2d_backward_input(dy, w, {1}, 0.5, {v.h, v.w}, c.kernel, c.geometry,
                                                            bytes_options);
  const Tensor dw = on_device::binary_conv2d_backward_weight(dy, x, {}, c.kernel, c.geometry,
                                                             PaddingValue::zero, bytes_options);
  std::vector<double> exact_dx(static_cast<std::size_t>(dx.count())), terms(exact_dx),
      exact_dw(static_cast<std::size_t>(dw.count()));
  for_each_product(v, [&](std::int64_t at_x, std::int64_t at_w, std::int64_t at_y) {
    if (at_x < 0) return;
    const double g = dy.data<float>()[at_y];
    exact_dx[static_cast<std::size_t>(at_x)] +=
        ops::reference::bit(w, at_w / v.k(), at_w % v.k()) ? 0.5 * g : -0.5 * g;
    terms[static_cast<std::size_t>(at_x)] += 1;
    exact_dw[static_cast<std::size_t>(at_w)] += ops::reference::bit(x, at_x / v.c, at_x % v.c) ? g : -g;
  });
  double off = 0;
  for (std::size_t i = 0; i < exact_dx.size(); ++i) {
    const double step = (i < exact_dx.size() / 4 ? 1e-30 : 1.0) * 0.5 / 127;
    const double error = (dx.data<float>()[i] - exact_dx[i]) / step;
    EXPECT_LT(std::abs(error), 6 * std::sqrt(terms[i] / 6)) << i;  // the variance of a rounding is 1/6
    off += error * error / terms[i];
  }
  EXPECT_NEAR(off / static_cast<double>(exact_dx.size()), 1.0 / 6, 0.01);
  for (std::size_t i = 0; i < exact_dw.size(); ++i)
    EXPECT_LT(std::abs(dw.data<float>()[i] - exact_dw[i]), 6 * std::sqrt(4 * 81 / 6.0) / 127) << i;
}

TEST(ByteGradient, ASampleOrChannelWithoutNumbersHasNone) {
  Tensor dy = random_tensor({3, 4, 4, 10}, 1);
  dy.data<float>()[160 + 7] = std::numeric_limits<float>::quiet_NaN();  // sample 1, channel 7
  const Tensor x = random_bits({3, 4, 4, 6}, 2);
  const Tensor w = random_bits({10, 54}, 3);
  const ops::Conv2dGeometry geometry{.padding = {1, 1, 1, 1}};
  const Tensor dx =
      on_device::binary_conv2d_backward_input(dy, w, {1}, 1.0, {4, 4}, {3, 3}, geometry, bytes_options);
  const Tensor dw = on_device::binary_conv2d_backward_weight(dy, x, {}, {3, 3}, geometry, PaddingValue::zero,
                                                             bytes_options);
  for (std::int64_t i = 0; i < dx.count(); ++i) ASSERT_EQ(std::isnan(dx.data<float>()[i]), i / 96 == 1) << i;
  for (std::int64_t i = 0; i < dw.count(); ++i) ASSERT_EQ(std::isnan(dw.data<float>()[i]), i / 54 == 7) << i;
}

TEST(ByteGradient, ImagesOfFewChannelsGetFloatGradients) {
  const Tensor dy = random_tensor({2, 5, 5, 12}, 1);
  const Tensor w = random_bits({12, 27}, 2);
  const auto gradient = [&](const GradientOptions& options) {
    return test::bytes(on_device::binary_conv2d_backward_input(dy, w, {1}, 0.5, {5, 5}, {3, 3},
                                                               {.padding = {1, 1, 1, 1}}, options));
  };
  EXPECT_EQ(gradient(bytes_options), gradient(float_options));
}

TEST(ByteGradient, TinyGradientsKeepTheirDirection) {
  // A confidently classified image: its gradient may be subnormal.
  Tensor dy = random_tensor({1, 20}, 1);
  Tensor small = dy.clone();
  for (float& v : small.span<float>()) v *= 0x1p-125F;
  const Tensor w = random_bits({20, 30}, 2);
  const auto gradient = [&](const Tensor& g) {
    return on_device::binary_matmul_backward_input(g, w, {1}, 1.0, bytes_options);
  };
  const Tensor expected = gradient(dy);
  const Tensor actual = gradient(small);
  for (std::int64_t i = 0; i < expected.count(); ++i)
    ASSERT_NEAR(actual.data<float>()[i] * 0x1p125F, expected.data<float>()[i], 0.01) << i;
}

TEST(ByteWeightsCache, KeepsFrozenWeightsFromTheSecondCallOn) {
  if (!on_cpu()) GTEST_SKIP() << "the cpu's own";
  cpu::forget_input_weights();
  const cpu::ByteKernels kernels = cpu::selected_byte_kernels();
  const std::vector<int> one = {1};
  const auto get = [&](const ops::Conv2d& conv, const Tensor& w) {
    return cpu::cached_input_weights(kernels, conv, w.data<std::uint64_t>(), one);
  };
  const ConvCase c{2, 5, 5, 8, 16, {3, 3}, {.padding = {1, 1, 1, 1}}};
  const Tensor w = random_bits({16, 72}, 1);
  const auto first = get(c.sizes(), w);
  const std::size_t bits = cpu::cached_input_weight_bytes();
  EXPECT_EQ(bits, w.byte_length());
  const auto second = get(c.sizes(), w.clone());
  EXPECT_NE(second, first);
  EXPECT_EQ(cpu::cached_input_weight_bytes(), bits + second->bytes());
  ConvCase more = c;
  more.n = 7;  // another batch
  EXPECT_EQ(get(more.sizes(), w.clone()), second);
  more.h = 6;
  EXPECT_NE(get(more.sizes(), w), second);

  const Tensor changed = w.clone();
  changed.data<std::uint64_t>()[3] ^= 4;
  EXPECT_NE(get(c.sizes(), changed), second);
  EXPECT_EQ(get(c.sizes(), w), second);
  // Training leaves bits behind, of a few steps.
  for (std::uint32_t step = 0; step < 100; ++step) get(c.sizes(), random_bits({16, 72}, 2 + step));
  EXPECT_LE(cpu::cached_input_weight_bytes(), 10 * bits);
  cpu::forget_input_weights();
  EXPECT_EQ(cpu::cached_input_weight_bytes(), 0);

  // The operator gives the same with and without.
  const Tensor dy = random_tensor({2, 5, 5, 16}, 3);
  const auto dx = [&] {
    return test::bytes(
        on_device::binary_conv2d_backward_input(dy, w, {1}, 1.0, {5, 5}, {3, 3}, c.geometry, bytes_options));
  };
  const auto expected = dx();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(dx(), expected);
}

// -- float and bf16

TEST(BinaryGradient, FloatIsTheFloatOperators) {
  const ConvCase c{3, 7, 8, 6, 10, {3, 2}, {.stride = {2, 1}, .padding = {1, 1, 0, 1}}};
  const ops::Conv2d v = c.sizes();
  const Tensor dy = random_tensor({v.n, v.oh, v.ow, v.m}, 1);
  const Tensor planes = random_bits({2 * v.m, v.k()}, 2);
  const Tensor alpha = random_tensor({v.m}, 3, 0.5F, 2);
  const Tensor w = ops::planes_to_float(planes, {1, 2}, alpha);
  EXPECT_EQ(test::bytes(on_device::binary_conv2d_backward_input(dy, planes, {1, 2}, alpha, {v.h, v.w},
                                                                c.kernel, c.geometry, float_options)),
            test::bytes(ops::conv2d_backward_input(here(dy), here(w).reshape({v.m, v.kh, v.kw, v.c}),
                                                   {v.h, v.w}, c.geometry)));
  const Tensor x = random_codes({v.n, v.h, v.w, v.c}, 3, 4);
  EXPECT_EQ(test::bytes(on_device::binary_conv2d_backward_weight(dy, x, 3, c.kernel, c.geometry,
                                                                 PaddingValue::zero, float_options)),
            test::bytes(ops::conv2d_backward_weight(here(dy), here(ops::codes_to_float(x, 3)), c.kernel,
                                                    c.geometry)));
  const Tensor rows = random_tensor({5, v.m}, 5);
  EXPECT_EQ(test::bytes(on_device::binary_matmul_backward_input(rows, planes, {1, 2}, alpha, float_options)),
            test::bytes(ops::dense_backward_input(here(rows), here(w))));
  const Tensor signs = random_bits({5, 13}, 6);
  EXPECT_EQ(test::bytes(on_device::binary_matmul_backward_weight(rows, signs, {}, float_options)),
            test::bytes(ops::dense_backward_weight(here(rows), here(ops::unpack_signs(signs)))));
}

/// float and bf16 against sums in double, with both paddings.
void check_real(const ConvCase& c, GradientArithmetic arithmetic, double precision) {
  SCOPED_TRACE(c.text());
  const ops::Conv2d v = c.sizes();
  const GradientOptions options{arithmetic, 0, 0, 0};
  const Tensor dy = random_tensor({v.n, v.oh, v.ow, v.m}, 1);
  const Tensor x = random_bits({v.n, v.h, v.w, v.c}, 2);
  const Tensor w = random_bits({v.m, v.k()}, 3);
  const Tensor alpha = random_tensor({v.m}, 4, 0.5F, 2);
  for (const PaddingValue padding : {PaddingValue::zero, PaddingValue::one}) {
    std::vector<double> dx(static_cast<std::size_t>(x.count())), dx_sum(dx),
        dw(static_cast<std::size_t>(w.count())), dw_sum(dw);
    for_each_product(v, [&](std::int64_t at_x, std::int64_t at_w, std::int64_t at_y) {
      const double g = dy.data<float>()[at_y];
      const bool one = at_x < 0 || ops::reference::bit(x, at_x / v.c, at_x % v.c);
      if (at_x >= 0) {
        const double a = g * alpha.data<float>()[at_w / v.k()];
        dx[static_cast<std::size_t>(at_x)] += ops::reference::bit(w, at_w / v.k(), at_w % v.k()) ? a : -a;
        dx_sum[static_cast<std::size_t>(at_x)] += std::abs(a);
      }
      if (at_x < 0 && padding == PaddingValue::zero) return;
      dw[static_cast<std::size_t>(at_w)] += one ? g : -g;
      dw_sum[static_cast<std::size_t>(at_w)] += 2 * std::abs(g);  // x − 1 is −2 at most
    });
    const Tensor actual_dx =
        on_device::binary_conv2d_backward_input(dy, w, {1}, alpha, {v.h, v.w}, c.kernel, c.geometry, options);
    const Tensor actual_dw =
        on_device::binary_conv2d_backward_weight(dy, x, {}, c.kernel, c.geometry, padding, options);
    for (std::size_t i = 0; i < dx.size(); ++i)
      ASSERT_NEAR(actual_dx.data<float>()[i], dx[i], dx_sum[i] * precision) << i;
    for (std::size_t i = 0; i < dw.size(); ++i)
      ASSERT_NEAR(actual_dw.data<float>()[i], dw[i], dw_sum[i] * precision + precision * 1e-3) << i;
  }
}

TEST(BinaryGradient, FloatAndBf16AgreeWithDouble) {
  const std::vector<ConvCase> cases = {
      {2, 8, 8, 32, 48, {3, 3}, {.padding = {1, 1, 1, 1}}},
      {2, 9, 7, 6, 10, {3, 2}, {.stride = {2, 1}, .padding = {1, 0, 2, 1}}},
      {2, 6, 6, 8, 12, {3, 3}, {.padding = {1, 1, 1, 1}, .groups = 2}},
      {3, 5, 5, 3, 7, {3, 3}, {.dilation = {2, 1}, .padding = {2, 2, 0, 0}}},
  };
  for (const ConvCase& c : cases) {
    check_real(c, GradientArithmetic::f32, 0x1p-18);
    if (!supported(GradientArithmetic::bf16)) continue;
    check_real(c, GradientArithmetic::bf16, 0x1p-8);
  }
  if (!supported(GradientArithmetic::bf16)) return;
  const Tensor dy = random_tensor({9, 20}, 1);
  const Tensor w = random_bits({20, 31}, 2);
  const Tensor x = random_codes({9, 31}, 8, 3);
  const Tensor scaled = on_device::binary_matmul_backward_input(dy, w, {1}, 0.25, bf16_options);
  const Tensor exact = on_device::binary_matmul_backward_input(dy, w, {1}, 0.25, float_options);
  for (std::int64_t i = 0; i < exact.count(); ++i)
    ASSERT_NEAR(scaled.data<float>()[i], exact.data<float>()[i], 20 * 0.25 * 0x1p-8);
  const Tensor dw = on_device::binary_matmul_backward_weight(dy, x, 8, bf16_options);
  const Tensor exact_dw = on_device::binary_matmul_backward_weight(dy, x, 8, float_options);
  for (std::int64_t i = 0; i < exact_dw.count(); ++i)
    ASSERT_NEAR(dw.data<float>()[i], exact_dw.data<float>()[i], 9 * 0x1p-8);
}

TEST(BinaryGradient, Bf16IsExactWhereDyIs) {
  if (!supported(GradientArithmetic::bf16)) GTEST_SKIP() << "no bf16";
  // Whole numbers of 8 bits: bf16 holds them, f32 their sums.
  Tensor dy = random_tensor({2, 6, 6, 24}, 1, -255, 255);
  for (float& v : dy.span<float>()) v = std::round(v);
  const Tensor w = random_bits({24, 9 * 16}, 2);
  const Tensor x = random_bits({2, 6, 6, 16}, 3);
  const ops::Conv2dGeometry geometry{.padding = {1, 1, 1, 1}};
  const auto both = [&](const GradientOptions& options) {
    return std::pair{test::bytes(on_device::binary_conv2d_backward_input(dy, w, {1}, 1.0, {6, 6}, {3, 3},
                                                                         geometry, options)),
                     test::bytes(on_device::binary_conv2d_backward_weight(dy, x, {}, {3, 3}, geometry,
                                                                          PaddingValue::zero, options))};
  };
  EXPECT_EQ(both(bf16_options), both(float_options));
}

// -- operands

TEST(BinaryGradient, EmptyOnesAreZeros) {
  for (const GradientOptions& options : {float_options, bytes_options}) {
    for (const ConvCase& c : test::odd_convs) {
      const ops::Conv2d v = c.sizes();
      if (!v.empty()) continue;
      SCOPED_TRACE(c.text());
      test::poison_cache();
      const Tensor dy = Tensor::zeros(DType::f32, {v.n, v.oh, v.ow, v.m});
      const Tensor dx = on_device::binary_conv2d_backward_input(
          dy, Tensor::zeros(DType::bits, {v.m, v.k()}), {1}, 1.0, {v.h, v.w}, c.kernel, c.geometry, options);
      const Tensor dw =
          on_device::binary_conv2d_backward_weight(dy, Tensor::zeros(DType::bits, {v.n, v.h, v.w, v.c}), {},
                                                   c.kernel, c.geometry, PaddingValue::zero, options);
      EXPECT_EQ(dx.shape(), (Shape{v.n, v.h, v.w, v.c}));
      EXPECT_EQ(dw.shape(), (Shape{v.m, v.k()}));
      for (const Tensor& t : {dx, dw}) {
        for (const float value : t.span<const float>()) ASSERT_EQ(value, 0);
      }
    }
  }
}

TEST(BinaryGradient, RefusesWrongOperands) {
  const Tensor dy = Tensor::zeros(DType::f32, {2, 3, 4, 6});
  const Tensor w = Tensor::zeros(DType::bits, {6, 9 * 4});
  const Tensor x = Tensor::zeros(DType::bits, {2, 5, 6, 4});
  const Tensor codes = Tensor::zeros(DType::u8, {2, 5, 6, 4});
  const auto input = [&](const char* code, const std::string& part, const Tensor& g, const Tensor& planes,
                         const std::vector<double>& coefficients, const ops::WeightScale& scale,
                         const ops::Pair& size, const GradientOptions& options) {
    expect_error(
        code,
        [&] {
          on_device::binary_conv2d_backward_input(g, planes, coefficients, scale, size, {3, 3}, {}, options);
        },
        part);
  };
  EXPECT_NO_THROW(
      on_device::binary_conv2d_backward_input(dy, w, {1}, 1.0, {5, 6}, {3, 3}, {}, bytes_options));
  input("ERR_HARDBIT_DTYPE", "dy holds bits", w, w, {1}, 1.0, {5, 6}, float_options);
  input("ERR_HARDBIT_DTYPE", "planes holds f32", dy, dy, {1}, 1.0, {5, 6}, float_options);
  input("ERR_HARDBIT_SHAPE", "[2, 4, 4, 6]", dy, w, {1}, 1.0, {6, 6}, float_options);
  input("ERR_HARDBIT_SHAPE", "to be 12", dy, w, {1, 1}, 1.0, {5, 6}, float_options);
  input("ERR_HARDBIT_SHAPE", "KH", dy, Tensor::zeros(DType::bits, {6, 35}), {1}, 1.0, {5, 6}, float_options);
  input("ERR_HARDBIT_SHAPE", "scale", dy, w, {1}, Tensor::zeros(DType::f32, {5}), {5, 6}, float_options);
  input("ERR_HARDBIT_ARGUMENT", "scale", dy, w, {1}, std::nan(""), {5, 6}, float_options);
  input("ERR_HARDBIT_ARGUMENT", "1.5", dy, w, {1.5}, 1.0, {5, 6}, float_options);
  input("ERR_HARDBIT_UNSUPPORTED", "up to 64", dy, w, {65}, 1.0, {5, 6}, bytes_options);
  input("ERR_HARDBIT_ARGUMENT", "stream", dy, w, {1}, 1.0, {5, 6}, {GradientArithmetic::int8, 0, ~0ULL, 0});
  if (supported(GradientArithmetic::bf16)) {
    input("ERR_HARDBIT_UNSUPPORTED", "up to 256", dy, w, {257}, 1.0, {5, 6}, bf16_options);
  } else {
    input("ERR_HARDBIT_UNSUPPORTED", "AVX512-BF16", dy, w, {1}, 1.0, {5, 6}, bf16_options);
  }
  const auto weight = [&](const char* code, const std::string& part, const Tensor& images,
                          std::optional<int> bits, const ops::Pair& kernel) {
    expect_error(
        code,
        [&] {
          on_device::binary_conv2d_backward_weight(dy, images, bits, kernel, {}, PaddingValue::zero,
                                                   bytes_options);
        },
        part);
  };
  EXPECT_NO_THROW(
      on_device::binary_conv2d_backward_weight(dy, x, {}, {3, 3}, {}, PaddingValue::zero, bytes_options));
  weight("ERR_HARDBIT_DTYPE", "x holds u8", codes, {}, {3, 3});
  weight("ERR_HARDBIT_DTYPE", "x holds bits", x, 2, {3, 3});
  weight("ERR_HARDBIT_ARGUMENT", "inputBits", codes, 9, {3, 3});
  weight("ERR_HARDBIT_SHAPE", "dy", x, {}, {2, 3});
  codes.data<std::uint8_t>()[5] = 4;
  weight("ERR_HARDBIT_ARGUMENT", "code", codes, 2, {3, 3});
  expect_error("ERR_HARDBIT_SHAPE", [&] {
    on_device::binary_matmul_backward_weight(Tensor::zeros(DType::f32, {3, 2}),
                                             Tensor::zeros(DType::bits, {2, 2}), {}, float_options);
  });
  expect_error("ERR_HARDBIT_ARGUMENT",
               [&] { on_device::quantize_gradient(dy, ops::QuantizedBy::sample, 128, 0, 0, 0); });
}

}  // namespace
}  // namespace hardbit
