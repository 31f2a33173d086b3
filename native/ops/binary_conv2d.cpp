#include "ops/binary_conv2d.h"

#include <algorithm>
#include <limits>

#include "cpu/binary_conv2d.h"
#include "cuda/binary_conv2d.h"
#include "ops/binary_matmul.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {
namespace {

BinaryConv2d check_operands(const char* op, const char* what, const Tensor& x, std::int64_t levels,
                            const Tensor& w, const Pair& kernel, const Conv2dGeometry& geometry) {
  check::dtype(op, "w", w, DType::bits);
  check::rank(op, what, x, 4, "[N, H, W, C]");
  check::rank(op, "w", w, 2, "[M, KH · KW · C / groups]");
  const Conv2d conv = check_conv2d(op, x.shape(), w.dim(0), kernel, geometry);
  const std::int64_t most = std::numeric_limits<std::int32_t>::max() / levels;
  // KH · KW is below 2^32, so that neither side overflows.
  if (conv.kh * conv.kw > most / std::max<std::int64_t>(conv.group_channels(), 1)) {
    check::fail("ERR_HARDBIT_SHAPE", op,
                "a kernel of " + std::to_string(conv.kh) + " x " + std::to_string(conv.kw) + " x " +
                    std::to_string(conv.group_channels()) +
                    " has sums that may not fit into 32 bits; expected at most " + std::to_string(most) +
                    " taps.");
  }
  check::dim(op, "w", w, 1, conv.k(), "KH · KW · C / groups");
  const bool narrow = conv.k() * levels <= std::numeric_limits<std::int16_t>::max();
  return {conv, narrow ? DType::i16 : DType::i32};
}

}  // namespace

BinaryConv2d check_binary_conv2d(const char* op, const Tensor& x, const Tensor& w, const Pair& kernel,
                                 const Conv2dGeometry& geometry) {
  check::dtype(op, "x", x, DType::bits);
  return check_operands(op, "x", x, 1, w, kernel, geometry);
}

BinaryConv2d check_codes_conv2d(const char* op, const Tensor& codes, int bits, const Tensor& w,
                                const Pair& kernel, const Conv2dGeometry& geometry) {
  check::dtype(op, "codes", codes, DType::u8);
  check::integer_between(op, "bits", bits, 1, 8);
  return check_operands(op, "codes", codes, (1 << bits) - 1, w, kernel, geometry);
}

Tensor binary_conv2d(const Tensor& x, const Tensor& w, const Pair& kernel, const Conv2dGeometry& geometry,
                     PaddingValue padding) {
  const BinaryConv2d p = check_binary_conv2d("binaryConv2d", x, w, kernel, geometry);
  const Device device = common_device(x, w);
  Tensor y = Tensor::empty(p.dtype, p.shape(), device);
  const auto run = [&](auto* out) {
    const auto* const signs = x.data<std::uint64_t>();
    const auto* const weights = w.data<std::uint64_t>();
    dispatch(
        device,
        [&] { cpu::binary_conv2d(cpu::selected_product_rows(), p.conv, padding, signs, weights, out); },
        [&] { cuda::binary_conv2d(p.conv, padding, signs, weights, out); });
  };
  p.dtype == DType::i16 ? run(y.data<std::int16_t>()) : run(y.data<std::int32_t>());
  return y;
}

Tensor codes_conv2d(const Tensor& codes, int bits, const Tensor& w, const Pair& kernel,
                    const Conv2dGeometry& geometry, PaddingValue padding) {
  constexpr const char* op = "codesConv2d";
  const BinaryConv2d p = check_codes_conv2d(op, codes, bits, w, kernel, geometry);
  const Device device = common_device(codes, w);
  Tensor y = Tensor::empty(p.dtype, p.shape(), device);
  const auto run = [&](auto* out) {
    const auto* const values = codes.data<std::uint8_t>();
    const auto* const weights = w.data<std::uint64_t>();
    dispatch(
        device,
        [&] {
          check_code_range(
              op,
              cpu::codes_conv2d(cpu::selected_product_rows(), p.conv, padding, values, bits, weights, out),
              bits);
        },
        [&] { cuda::codes_conv2d(p.conv, padding, values, bits, weights, out); });
  };
  p.dtype == DType::i16 ? run(y.data<std::int16_t>()) : run(y.data<std::int32_t>());
  return y;
}

MaxPooled binary_conv2d_pool(const Tensor& x, std::optional<int> bits, const Tensor& w, const Pair& kernel,
                             const Conv2dGeometry& geometry, PaddingValue padding, const Pool2dGeometry& pool,
                             bool with_index) {
  constexpr const char* op = "binaryConv2dPool";
  const Device device = common_device(x, w);
  MaxPooled out;
  dispatch(
      device,
      [&] {
        const Tensor sums = bits ? codes_conv2d(x, *bits, w, kernel, geometry, padding)
                                 : binary_conv2d(x, w, kernel, geometry, padding);
        out = max_pool2d(sums, pool, with_index);
      },
      [&] {
        const BinaryConv2d p = bits ? check_codes_conv2d(op, x, *bits, w, kernel, geometry)
                                    : check_binary_conv2d(op, x, w, kernel, geometry);
        const Pooling pooling = check_pooling(op, pool, p.conv.n, p.conv.oh, p.conv.ow, p.conv.m);
        const Shape shape{p.conv.n, pooling.out_height, pooling.out_width, p.conv.m};
        out.y = Tensor::empty(p.dtype, shape, device);
        if (with_index) out.index = Tensor::empty(DType::u8, shape, device);
        auto* const index = out.index ? out.index->data<std::uint8_t>() : nullptr;
        const auto run = [&](auto* y) {
          cuda::binary_conv2d_pool(p.conv, padding, x.raw(), bits, w.data<std::uint64_t>(), pooling, y,
                                   index);
        };
        p.dtype == DType::i16 ? run(out.y.data<std::int16_t>()) : run(out.y.data<std::int32_t>());
      });
  return out;
}

}  // namespace hardbit::ops
