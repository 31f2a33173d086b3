#include "ops/binary_gradient.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/byte_gradient.h"
#include "cpu/byte_weights_cache.h"
#include "cpu/conv2d.h"
#include "cpu/float_gradient.h"
#include "cpu/onednn.h"
#include "cuda/byte_gradient.h"
#include "cuda/conv2d.h"
#include "cuda/dense.h"
#include "ops/binary_matmul.h"
#include "ops/bits.h"
#include "ops/check.h"
#include "ops/dense.h"
#include "ops/discretize.h"
#include "ops/dispatch.h"
#include "ops/quantize.h"
#include "ops/quantize_weights.h"
#include "runtime/threads.h"

namespace hardbit::ops {
namespace {

/// oneDNN computes a whole vector of input channels, and so does a byte product (cpu/conv2d.cpp has our own
/// way).
constexpr std::int64_t few_channels = 4;

void check_arithmetic(const char* op, GradientArithmetic arithmetic, Device device) {
  if (supports_gradient_arithmetic(arithmetic, device)) return;
  check::fail("ERR_HARDBIT_UNSUPPORTED", op,
              "bf16 gradients need a CPU with AVX512-BF16 or AMX and a build with oneDNN; choose 'float' or "
              "'int8'.");
}

/// Whole coefficients, one a plane, that the arithmetic holds exactly.
std::vector<int> check_coefficients(const char* op, const std::vector<double>& coefficients,
                                    GradientArithmetic arithmetic) {
  constexpr double most = 0x1p24;
  std::vector<int> result;
  double sum = 0;
  for (const double c : coefficients) {
    if (!(c == std::floor(c)) || !(std::abs(c) <= most)) {
      check::fail("ERR_HARDBIT_ARGUMENT", op,
                  "a coefficient is " + check::text(c) + "; expected whole numbers up to 2^24.");
    }
    sum += std::abs(c);
    result.push_back(static_cast<int>(c));
  }
  if (result.empty()) {
    check::fail("ERR_HARDBIT_ARGUMENT", op, "there are no coefficients; expected one a plane.");
  }
  const bool bytes = arithmetic == GradientArithmetic::int8;
  const double exact = bytes ? 64 : arithmetic == GradientArithmetic::bf16 ? 256 : most;
  if (sum > exact) {
    check::fail("ERR_HARDBIT_UNSUPPORTED", op,
                "the magnitudes of the coefficients add up to " + check::text(sum) + ", and " +
                    (bytes ? "int8" : "this") + " gradients are exact up to " + check::text(exact) +
                    "; choose 'float'.");
  }
  return result;
}

void check_weights(const char* op, const Tensor& planes, const std::vector<double>& coefficients,
                   const WeightScale& scale, std::int64_t m) {
  check::dtype(op, "planes", planes, DType::bits);
  check::rank(op, "planes", planes, 2, "[P·M, K]");
  check::dim(op, "planes", planes, 0, static_cast<std::int64_t>(coefficients.size()) * m,
             "the coefficients by the channels of dy");
  if (const auto* const common = std::get_if<double>(&scale)) {
    check::finite(op, "scale", *common);
  } else {
    check::f32(op, "scale", std::get<Tensor>(scale), {m});
  }
}

/// The counter of the draws; the last block has to fit into it.
cpu::Draws check_draws(const char* op, std::int64_t rows, std::int64_t length, std::uint64_t seed,
                       std::uint64_t stream, std::uint64_t step) {
  const std::uint32_t word = check::stream(op, stream);
  if (rows > 0 && cpu::draw_blocks(length) > (std::int64_t{1} << 32) / rows) {
    check::fail("ERR_HARDBIT_SHAPE", op,
                "dy has " + std::to_string(rows) + " rows of " + std::to_string(length) +
                    " elements; int8 gradients take at most 2^35 elements, use a smaller batch.");
  }
  return {.key = seed, .step = step, .stream = word};
}

void check_sums(const char* op, std::int64_t terms, std::int64_t magnitude, const char* what) {
  if (terms <= std::numeric_limits<std::int32_t>::max() / magnitude) return;
  check::fail("ERR_HARDBIT_UNSUPPORTED", op,
              "int8 sums over " + std::to_string(terms) + " " + what +
                  " may not fit into 32 bits; choose 'float' or 'bf16'.");
}

Device device_of(const Tensor& a, const Tensor& b, const WeightScale& scale) {
  const auto* const channels = std::get_if<Tensor>(&scale);
  return channels != nullptr ? common_device(a, b, *channels) : common_device(a, b);
}

/// One factor an output channel, f32 [m].
Tensor channel_scales(const WeightScale& scale, std::int64_t m, Device device) {
  if (const auto* const channels = std::get_if<Tensor>(&scale)) return *channels;
  Tensor scales = Tensor::empty(DType::f32, {m}, device);
  const auto common = static_cast<float>(std::get<double>(scale));
  dispatch(
      device, [&] { std::fill_n(scales.data<float>(), m, common); },
      [&] { cuda::fill_floats(scales.data<float>(), common, m); });
  return scales;
}

using Pooled = std::optional<MaxPooling>;

/// Throws where dy is not of the outputs of `conv`, or of what `pooling` leaves of them.
void check_outputs(const char* op, const Conv2d& conv, const Tensor& dy, const Pooled& pooling) {
  if (!pooling) {
    check::shape(op, "dy", dy, {conv.n, conv.oh, conv.ow, conv.m});
    return;
  }
  const Pooling p = check_max_pooled(op, dy, *pooling, {conv.oh, conv.ow});
  check::shape(op, "dy", dy, {conv.n, p.out_height, p.out_width, conv.m});
  common_device(dy, pooling->index);
}

/// dy of all outputs.
Tensor spread(const Conv2d& conv, const Tensor& dy, const MaxPooling& pooling) {
  return max_pool2d_backward(dy, pooling.index, {conv.oh, conv.ow}, pooling.geometry);
}

/// dy as it is, of pooled outputs where there is a pooling.
template <class OutputGradient>
OutputGradient output_gradient(const Conv2d& conv, const Tensor& dy, const MaxPooling* pooling) {
  if (pooling == nullptr) return dy.data<const float>();
  return {{pooling->geometry, conv.n, conv.oh, conv.ow, conv.m, dy.dim(1), dy.dim(2)},
          dy.data<const float>(),
          pooling->index.data<const std::uint8_t>()};
}

/// The kernels that sum fp32 gradients of a convolution under signs; null where products are multiplied.
const cpu::SignSumKernels* sign_sums(const Conv2d& conv, Device device, GradientArithmetic arithmetic) {
  const bool wanted = device == Device::cpu && arithmetic == GradientArithmetic::f32;
  return wanted ? cpu::choose_sign_sums(conv) : nullptr;
}

/// dL/dx [N, H, W, C] of a checked convolution or, as N images of one pixel, of a matrix product.
Tensor backward_input(const char* op, bool product, const Conv2d& conv, const Tensor& given,
                      const Pooled& pooling, const Tensor& planes, const std::vector<double>& coefficients,
                      const WeightScale& scale, const GradientOptions& gradient) {
  const Device device = device_of(given, planes, scale);
  check_arithmetic(op, gradient.arithmetic, device);
  const std::vector<int> factors = check_coefficients(op, coefficients, gradient.arithmetic);
  const cpu::Draws draws =
      check_draws(op, conv.n * conv.oh, conv.ow * conv.m, gradient.seed, gradient.stream, gradient.step);
  const Shape shape{conv.n, conv.h, conv.w, conv.c};
  if (conv.empty()) return Tensor::zeros(DType::f32, shape, device);
  Tensor dx = Tensor::empty(DType::f32, shape, device);
  auto* const out = dx.data<float>();
  const bool few = !product && conv.c <= few_channels && conv.geometry.groups == 1;
  const auto* const sums = factors.size() == 1 ? sign_sums(conv, device, gradient.arithmetic) : nullptr;
  // What is pooled is taken as it is: dy of all outputs is never made.
  const bool pooled = pooling && pooling->geometry.side_by_side() &&
                      (sums != nullptr || (gradient.arithmetic == GradientArithmetic::int8 && !few));
  if (pooled) check_places(op, *pooling);
  const Tensor dy = pooling && !pooled ? spread(conv, given, *pooling) : given;
  const MaxPooling* const behind = pooled ? &*pooling : nullptr;
  const auto* const g = dy.data<float>();
  if (sums != nullptr) {
    const Tensor scales = channel_scales(scale, conv.m, device);
    Tensor signed_scales = scales;
    if (factors[0] != 1) {
      signed_scales = Tensor::empty(DType::f32, {conv.m});
      std::ranges::transform(scales.span<const float>(), signed_scales.data<float>(),
                             [&](float s) { return s * static_cast<float>(factors[0]); });
    }
    cpu::float_backward_input(*sums, conv, output_gradient<cpu::OutputGradient>(conv, dy, behind),
                              planes.data<std::uint64_t>(), signed_scales.data<float>(), out);
  } else if (gradient.arithmetic == GradientArithmetic::f32 || few) {
    const Tensor w = planes_to_float(planes, coefficients, channel_scales(scale, conv.m, device));
    if (product) {
      dispatch<cpu::matmul, cuda::matmul>(device, false, false, conv.n, conv.c, conv.m, g, w.data<float>(),
                                          nullptr, out);
    } else {
      dispatch<cpu::conv2d_backward_input, cuda::conv2d_backward_input>(device, conv, g, w.data<float>(),
                                                                        out);
    }
  } else if (gradient.arithmetic == GradientArithmetic::bf16) {
    // The scale goes to dy: the weights stay whole numbers.
    const Tensor w = planes_to_float(planes, coefficients, channel_scales(1.0, conv.m, device));
    const auto* const common = std::get_if<double>(&scale);
    const Tensor scaled =
        common != nullptr && *common == 1 ? dy : scale_channels(dy, channel_scales(scale, conv.m, device));
    if (product) {
      dispatch<cpu::matmul_bf16, cuda::matmul_bf16>(device, false, false, conv.n, conv.c, conv.m,
                                                    scaled.data<float>(), w.data<float>(), out);
    } else {
      dispatch<cpu::convolution_backward_data_bf16, cuda::convolution_backward_data_bf16>(
          device, conv, scaled.data<float>(), w.data<float>(), out);
    }
  } else {
    std::int64_t magnitude = 0;
    for (const int factor : factors) magnitude += std::abs(factor);
    check_sums(op, conv.m / conv.geometry.groups * conv.kh * conv.kw,
               255 * std::max<std::int64_t>(magnitude, 1), "output channels and taps");
    const auto* const channels = std::get_if<Tensor>(&scale);
    const float* const by_channel = channels != nullptr ? channels->data<float>() : nullptr;
    const float common = channels != nullptr ? 1.0F : static_cast<float>(std::get<double>(scale));
    const auto* const bits = planes.data<std::uint64_t>();
    dispatch(
        device,
        [&] {
          const cpu::ByteKernels kernels = cpu::selected_byte_kernels();
          const auto weights = cpu::cached_input_weights(kernels, conv, bits, factors);
          cpu::byte_backward_input(kernels, conv, output_gradient<cpu::OutputGradient>(conv, dy, behind),
                                   by_channel, *weights, common, draws, out);
        },
        [&] {
          cuda::byte_backward_input(conv, output_gradient<cuda::OutputGradient>(conv, dy, behind), by_channel,
                                    bits, factors, common, draws, out);
        });
  }
  return dx;
}

/// Refuses larger codes; on the GPU by a report.
void check_codes(const char* op, const Tensor& codes, int bits) {
  dispatch(
      codes.device(),
      [&] {
        std::uint8_t all = 0;
        for (const std::uint8_t code : codes.span<const std::uint8_t>()) all |= code;
        check_code_range(op, all, bits);
      },
      [&] { cuda::check_codes(codes.data<std::uint8_t>(), codes.count(), bits); });
}

/// x − 1, in place.
void subtract_one(const Tensor& x) {
  float* const values = x.data<float>();
  dispatch(
      x.device(),
      [&] {
        parallel_for(x.count(), element_grain, [=](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i) values[i] -= 1.0F;
        });
      },
      [&] { cuda::subtract_one(values, x.count()); });
}

/// dw [m, k] + sums [m], in place.
void add_to_rows(const Tensor& sums, float* dw, std::int64_t m, std::int64_t k) {
  const float* const sum = sums.data<float>();
  dispatch(
      sums.device(),
      [&] {
        parallel_for(m, element_grain / k + 1, [=](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin * k; i < end * k; ++i) dw[i] += sum[i / k];
        });
      },
      [&] { cuda::add_to_rows(sum, dw, m, k); });
}

/// dL/dW [M, K], as backward_input.
Tensor backward_weight(const char* op, bool product, const Conv2d& conv, const Tensor& given,
                       const Pooled& pooling, const Tensor& x, std::optional<int> bits, PaddingValue padding,
                       const GradientOptions& gradient) {
  const Device device = common_device(given, x);
  check_arithmetic(op, gradient.arithmetic, device);
  const cpu::Draws draws =
      check_draws(op, conv.n * conv.oh, conv.ow * conv.m, gradient.seed, gradient.stream, gradient.step);
  if (bits) check_codes(op, x, *bits);
  const Shape shape{conv.m, conv.k()};
  if (conv.empty()) return Tensor::zeros(DType::f32, shape, device);
  Tensor dw = Tensor::empty(DType::f32, shape, device);
  auto* const out = dw.data<float>();
  const bool pooled =
      pooling && gradient.arithmetic == GradientArithmetic::int8 && pooling->geometry.side_by_side();
  if (pooled) check_places(op, *pooling);
  const Tensor dy = pooling && !pooled ? spread(conv, given, *pooling) : given;
  const MaxPooling* const behind = pooled ? &*pooling : nullptr;
  const auto* const g = dy.data<float>();
  if (gradient.arithmetic == GradientArithmetic::int8) {
    check_sums(op, conv.ow, bits ? 127 * ((std::int64_t{1} << *bits) - 1) : 127, "columns of dy");
    const auto* const signs = bits ? nullptr : x.data<std::uint64_t>();
    const auto* const codes = bits ? x.data<std::uint8_t>() : nullptr;
    dispatch(
        device,
        [&] {
          cpu::byte_backward_weight(cpu::selected_byte_kernels(), conv, padding,
                                    output_gradient<cpu::OutputGradient>(conv, dy, behind),
                                    {.signs = signs, .codes = codes, .bits = bits.value_or(1)}, draws, out);
        },
        [&] {
          cuda::byte_backward_weight(conv, padding, output_gradient<cuda::OutputGradient>(conv, dy, behind),
                                     signs, codes, bits.value_or(1), draws, out);
        });
    return dw;
  }
  const auto* const sums = bits ? nullptr : sign_sums(conv, device, gradient.arithmetic);
  if (sums != nullptr) {
    cpu::float_backward_weight(*sums, conv, padding, g, x.data<std::uint64_t>(), out);
    return dw;
  }
  const Tensor real = bits ? codes_to_float(x, *bits) : unpack_signs(x);
  // Padded with ones: y = (x − 1) * W padded with zeros, plus Σ_k W[m, k]; so Σ dy[m] is part of dW[m, k].
  const bool ones = padding == PaddingValue::one;
  if (ones) subtract_one(real);
  const auto* const inputs = real.data<float>();
  const bool wide = gradient.arithmetic == GradientArithmetic::f32;
  if (product && wide) {
    dispatch<cpu::matmul, cuda::matmul>(device, true, false, conv.m, conv.c, conv.n, g, inputs, nullptr, out);
  } else if (product) {
    dispatch<cpu::matmul_bf16, cuda::matmul_bf16>(device, true, false, conv.m, conv.c, conv.n, g, inputs,
                                                  out);
  } else if (wide) {
    dispatch<cpu::convolution_backward_weights, cuda::conv2d_backward_weight>(device, conv, g, inputs, out);
  } else {
    dispatch<cpu::convolution_backward_weights_bf16, cuda::convolution_backward_weights_bf16>(device, conv, g,
                                                                                              inputs, out);
  }
  if (ones) add_to_rows(sum_rows(dy), out, conv.m, conv.k());
  return dw;
}

/// A product as a convolution of n images of one pixel.
Conv2d as_convolution(std::int64_t n, std::int64_t k, std::int64_t m) {
  return {.geometry = {}, .n = n, .h = 1, .w = 1, .c = k, .m = m, .kh = 1, .kw = 1, .oh = 1, .ow = 1};
}

void check_input_dtype(const char* op, const Tensor& x, std::optional<int> bits) {
  check::dtype(op, "x", x, bits ? DType::u8 : DType::bits);
  if (bits) check::integer_between(op, "inputBits", *bits, 1, 8);
}

Tensor convolution_backward_input(const char* op, const Tensor& dy, const Pooled& pooling,
                                  const Tensor& planes, const std::vector<double>& coefficients,
                                  const WeightScale& scale, const Pair& size, const Pair& kernel,
                                  const Conv2dGeometry& geometry, const GradientOptions& gradient) {
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  check::dtype(op, "dy", dy, DType::f32);
  check::rank(op, "dy", dy, 4, "[N, OH, OW, M]");
  check_weights(op, planes, coefficients, scale, dy.dim(3));
  for (const std::int64_t value : size) check::integer_between(op, "the size", value, 0, most);
  for (const std::int64_t value : kernel) check::integer_between(op, "the kernel", value, 1, 65535);
  check::integer_between(op, "groups", geometry.groups, 1, most);
  const std::int64_t taps = kernel[0] * kernel[1];
  if (planes.dim(1) % taps != 0) {
    check::fail("ERR_HARDBIT_SHAPE", op,
                "planes has shape " + to_string(planes.shape()) +
                    "; expected a multiple of KH · KW = " + std::to_string(taps) + " columns.");
  }
  const Conv2d conv = check_conv2d(op, {dy.dim(0), size[0], size[1], planes.dim(1) / taps * geometry.groups},
                                   dy.dim(3), kernel, geometry);
  check_outputs(op, conv, dy, pooling);
  return backward_input(op, false, conv, dy, pooling, planes, coefficients, scale, gradient);
}

Tensor convolution_backward_weight(const char* op, const Tensor& dy, const Pooled& pooling, const Tensor& x,
                                   std::optional<int> bits, const Pair& kernel,
                                   const Conv2dGeometry& geometry, PaddingValue padding,
                                   const GradientOptions& gradient) {
  check::dtype(op, "dy", dy, DType::f32);
  check::rank(op, "dy", dy, 4, "[N, OH, OW, M]");
  check_input_dtype(op, x, bits);
  check::rank(op, "x", x, 4, "[N, H, W, C]");
  const Conv2d conv = check_conv2d(op, x.shape(), dy.dim(3), kernel, geometry);
  check_outputs(op, conv, dy, pooling);
  return backward_weight(op, false, conv, dy, pooling, x, bits, padding, gradient);
}

}  // namespace

bool supports_gradient_arithmetic(GradientArithmetic arithmetic, Device device) {
  return arithmetic != GradientArithmetic::bf16 || device != Device::cpu || cpu::has_bf16();
}

Tensor binary_conv2d_backward_input(const Tensor& dy, const Tensor& planes,
                                    const std::vector<double>& coefficients, const WeightScale& scale,
                                    const Pair& size, const Pair& kernel, const Conv2dGeometry& geometry,
                                    const GradientOptions& gradient) {
  return convolution_backward_input("binaryConv2dBackwardInput", dy, std::nullopt, planes, coefficients,
                                    scale, size, kernel, geometry, gradient);
}

Tensor binary_conv2d_backward_weight(const Tensor& dy, const Tensor& x, std::optional<int> bits,
                                     const Pair& kernel, const Conv2dGeometry& geometry, PaddingValue padding,
                                     const GradientOptions& gradient) {
  return convolution_backward_weight("binaryConv2dBackwardWeight", dy, std::nullopt, x, bits, kernel,
                                     geometry, padding, gradient);
}

Tensor binary_conv2d_pool_backward_input(const Tensor& dy, const MaxPooling& pooling, const Tensor& planes,
                                         const std::vector<double>& coefficients, const WeightScale& scale,
                                         const Pair& size, const Pair& kernel, const Conv2dGeometry& geometry,
                                         const GradientOptions& gradient) {
  return convolution_backward_input("binaryConv2dPoolBackwardInput", dy, pooling, planes, coefficients, scale,
                                    size, kernel, geometry, gradient);
}

Tensor binary_conv2d_pool_backward_weight(const Tensor& dy, const MaxPooling& pooling, const Tensor& x,
                                          std::optional<int> bits, const Pair& kernel,
                                          const Conv2dGeometry& geometry, PaddingValue padding,
                                          const GradientOptions& gradient) {
  return convolution_backward_weight("binaryConv2dPoolBackwardWeight", dy, pooling, x, bits, kernel, geometry,
                                     padding, gradient);
}

Tensor binary_matmul_backward_input(const Tensor& dy, const Tensor& planes,
                                    const std::vector<double>& coefficients, const WeightScale& scale,
                                    const GradientOptions& gradient) {
  constexpr const char* op = "binaryMatmulBackwardInput";
  check::dtype(op, "dy", dy, DType::f32);
  check::rank(op, "dy", dy, 2, "[N, M]");
  check_weights(op, planes, coefficients, scale, dy.dim(1));
  const Conv2d conv = as_convolution(dy.dim(0), planes.dim(1), dy.dim(1));
  return backward_input(op, true, conv, dy, std::nullopt, planes, coefficients, scale, gradient)
      .reshape({conv.n, conv.c});
}

Tensor binary_matmul_backward_weight(const Tensor& dy, const Tensor& x, std::optional<int> bits,
                                     const GradientOptions& gradient) {
  constexpr const char* op = "binaryMatmulBackwardWeight";
  check::dtype(op, "dy", dy, DType::f32);
  check::rank(op, "dy", dy, 2, "[N, M]");
  check_input_dtype(op, x, bits);
  check::rank(op, "x", x, 2, "[N, K]");
  check::dim(op, "x", x, 0, dy.dim(0), "the rows of dy");
  const Conv2d conv = as_convolution(x.dim(0), x.dim(1), dy.dim(1));
  return backward_weight(op, true, conv, dy, std::nullopt, x, bits, PaddingValue::zero, gradient);
}

QuantizedGradient quantize_gradient(const Tensor& dy, QuantizedBy by, int levels, std::uint64_t seed,
                                    std::uint64_t stream, std::uint64_t step) {
  constexpr const char* op = "quantizeGradient";
  check::dtype(op, "dy", dy, DType::f32);
  check::rank_at_least(op, "dy", dy, 2);
  check::integer_between(op, "levels", levels, 1, 127);
  const std::int64_t samples = dy.dim(0);
  const std::int64_t channels = dy.columns();
  const std::int64_t length = dy.rank() == 2 ? channels : dy.dim(dy.rank() - 2) * channels;
  const std::int64_t rows = length == 0 ? 0 : dy.count() / length;
  const cpu::Draws draws = check_draws(op, rows, length, seed, stream, step);
  const bool by_sample = by == QuantizedBy::sample;
  QuantizedGradient out{Tensor::empty(DType::u8, dy.shape(), dy.device()),
                        Tensor::zeros(DType::f32, {by_sample ? samples : channels}, dy.device())};
  if (dy.count() == 0) return out;
  const auto run = [&](const auto& quantize) {
    quantize(dy.data<float>(), rows, length, channels, by_sample ? rows / samples : 0, levels, draws,
             out.codes.data<std::uint8_t>(), out.scales.data<float>());
  };
  dispatch(
      dy.device(),
      [&] {
        run([](auto... operands) { cpu::quantize_gradient(cpu::selected_gradient_kernels(), operands...); });
      },
      [&] { run(cuda::quantize_gradient); });
  return out;
}

}  // namespace hardbit::ops
