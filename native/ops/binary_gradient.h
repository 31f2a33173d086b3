#pragma once
#include <optional>
#include <variant>
#include <vector>

#include "ops/binary_conv2d.h"

namespace hardbit::ops {

// Gradients of products and convolutions of quantized operands: activations are bits (±1) or codes, weights
// whole numbers Σ_p c_p·s_p of planes s_p of ±1 times a scale. Both operands come packed; what they are
// unpacked to dies inside the operator.

/// In what arithmetic a gradient is summed.
///  - f32: in fp32. On the CPU by sums under signs (cpu/float_gradient.h) where the other operand is one
///  plane of signs and `hardbit info --kernels` says so, else by oneDNN on the real values. Under signs, dW
///  of a padded convolution may be NaN throughout an output channel whose dy holds an infinity.
///  - bf16: in bf16 (oneDNN on the CPU). dy times the weights' scale is rounded to 8 bits of mantissa, the
///  other operand is exact (up to
///    Σ|c_p| = 256, or codes of 8 bits), sums are fp32. On the CPU it needs AVX512-BF16 or AMX.
///  - int8: dy is quantized as quantize_gradient says, for each sample (backward_input) or each output
///  channel
///    (backward_weight) by itself, the other operand is exact, sums are exact integers, so the result is the
///    same on every instruction set, thread count and device. A sample (or channel) with a NaN or an infinity
///    gets NaN throughout.
/// Gradients of convolution inputs of up to four channels in one group are f32 in all three: they are a
/// small part of any network, and eight lanes of bytes would mostly be empty. Gradients of weights that meet
/// codes of 8 bits take dy to ±63 instead of ±127 in int8, because products of pairs have to fit into 16
/// bits.
enum class GradientArithmetic : std::uint8_t { f32, bf16, int8 };

/// Draws of stochastic rounding, which only int8 takes: a function of these and of the element's place, never
/// of threads. Passes that must be independent of each other differ in stream or step.
struct GradientOptions {
  GradientArithmetic arithmetic = GradientArithmetic::f32;
  std::uint64_t seed = 0;
  /// Below 2^32.
  std::uint64_t stream = 0;
  std::uint64_t step = 0;
};

/// Whether `device` computes in `arithmetic`: always in f32 and int8; in bf16 every GPU, and a CPU where this
/// build's oneDNN does.
bool supports_gradient_arithmetic(GradientArithmetic arithmetic, Device device = Device::cpu);

/// One factor of all weights, or one an output channel, f32 [M].
using WeightScale = std::variant<double, Tensor>;

/// dL/dx [N, H, W, C] of y = x * W for `size` = (H, W): dy f32 [N, OH, OW, M], planes bits [P·M, KH·KW·(C /
/// groups)], plane p in rows p·M … (p + 1)·M − 1, one whole coefficient a plane, W = scale[m]·Σ_p c_p·s_p.
/// Geometry and errors as in ops/conv2d.h; a padded one takes part like a padded zero, in nothing.
/// ERR_HARDBIT_UNSUPPORTED: bf16 where the CPU lacks it; Σ|c_p| above 64 in int8, above 256 in bf16;
/// M·KH·KW of a group whose int8 sums may not fit into 32 bits.
Tensor binary_conv2d_backward_input(const Tensor& dy, const Tensor& planes,
                                    const std::vector<double>& coefficients, const WeightScale& scale,
                                    const Pair& size, const Pair& kernel, const Conv2dGeometry& geometry,
                                    const GradientOptions& gradient);

/// dL/dW [M, KH·KW·(C / groups)] of the real values of W: x bits [N, H, W, C] (`bits` empty), or u8 codes of
/// `bits` bits that stand for code / (2^bits − 1). A larger code: ERR_HARDBIT_ARGUMENT.
Tensor binary_conv2d_backward_weight(const Tensor& dy, const Tensor& x, std::optional<int> bits,
                                     const Pair& kernel, const Conv2dGeometry& geometry, PaddingValue padding,
                                     const GradientOptions& gradient);

// The same where max-pooling follows the convolution and dy [N, PH, PW, M] is of the outputs that it leaves:
// of max_pool2d_backward's, to the last bit. Where windows lie side by side, that is never made for int8
// gradients and for those of inputs that are sums under signs.

Tensor binary_conv2d_pool_backward_input(const Tensor& dy, const MaxPooling& pooling, const Tensor& planes,
                                         const std::vector<double>& coefficients, const WeightScale& scale,
                                         const Pair& size, const Pair& kernel, const Conv2dGeometry& geometry,
                                         const GradientOptions& gradient);
Tensor binary_conv2d_pool_backward_weight(const Tensor& dy, const MaxPooling& pooling, const Tensor& x,
                                          std::optional<int> bits, const Pair& kernel,
                                          const Conv2dGeometry& geometry, PaddingValue padding,
                                          const GradientOptions& gradient);

/// dL/dx [N, K] of y = x·Wᵀ: dy f32 [N, M], planes bits [P·M, K].
Tensor binary_matmul_backward_input(const Tensor& dy, const Tensor& planes,
                                    const std::vector<double>& coefficients, const WeightScale& scale,
                                    const GradientOptions& gradient);

/// dL/dW [M, K]: x bits [N, K], or u8 codes of `bits` bits.
Tensor binary_matmul_backward_weight(const Tensor& dy, const Tensor& x, std::optional<int> bits,
                                     const GradientOptions& gradient);

/// What shares one scale.
enum class QuantizedBy : std::uint8_t { sample, channel };

struct QuantizedGradient {
  Tensor codes;   // u8, dy's shape: q + 128
  Tensor scales;  // f32 [N] or [M]
};

/// dy f32 [N, …, M] to whole numbers q in ±levels, 1 ≤ levels ≤ 127, with dy ≈ q·s: s = max|dy| / levels over
/// a sample (the first dimension) or a channel (the last). Rounding is stochastic, q = ⌊dy/s + u⌋ with u
/// uniform in multiples of 2^-16: unbiased to 2^-16 of a step, exact where dy is a multiple of s. All zeros
/// give s = 0; a NaN or an infinity gives s = NaN, and q is then without meaning. A maximum so small that s
/// would lose digits (below 2^-100) is quantized as well; only s itself is then a subnormal number.
///
/// Element i of a row (a sample of [N, M], else what shares all but the last two dimensions) with r = ⌊i/16⌋
/// mod 4 and l = i mod 16 takes half ⌊i/64⌋ mod 2 (0 the low one) of word 2·(r mod 2) + l mod 2 of the Philox
/// block (b, step low, step high, stream) under the key `seed`, b = 16·⌈length/128⌉·row + 16·⌊i/128⌋ +
/// 8·⌊r/2⌋ + ⌊l/2⌋: pairs of words, in the order in which wide registers hold them.
QuantizedGradient quantize_gradient(const Tensor& dy, QuantizedBy by, int levels, std::uint64_t seed,
                                    std::uint64_t stream, std::uint64_t step);

}  // namespace hardbit::ops
