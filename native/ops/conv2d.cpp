#include "ops/conv2d.h"

#include <limits>

#include "cpu/conv2d.h"
#include "cpu/ordered_float.h"
#include "cuda/conv2d.h"
#include "cuda/ordered_float.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {
namespace {

constexpr std::int64_t most = 65535;  // of a stride, a dilation, a padding or a kernel, so that sums are safe

void images(const char* op, const char* what, const Tensor& t, const char* layout) {
  check::dtype(op, what, t, DType::f32);
  check::rank(op, what, t, 4, layout);
}

void divides(const char* op, const char* what, std::int64_t groups, std::int64_t channels) {
  if (channels % groups == 0) return;
  check::fail("ERR_HARDBIT_SHAPE", op,
              std::to_string(groups) + " groups do not divide the " + std::to_string(channels) + " " + what +
                  " channels; choose groups that divide both.");
}

/// Rows or columns of the result.
std::int64_t extent(const char* op, const char* what, std::int64_t size, std::int64_t before,
                    std::int64_t after, std::int64_t kernel, std::int64_t stride, std::int64_t dilation) {
  const std::int64_t padded = size + before + after;
  const std::int64_t window = dilation * (kernel - 1) + 1;
  if (window > padded) {
    check::fail("ERR_HARDBIT_SHAPE", op,
                "the kernel spans " + std::to_string(window) + " " + what + " of an input of " +
                    std::to_string(padded) + " with its padding; choose a smaller kernel or more padding.");
  }
  return (padded - window) / stride + 1;
}

Shape output_shape(const Conv2d& conv) { return {conv.n, conv.oh, conv.ow, conv.m}; }
Shape weight_shape(const Conv2d& conv) { return {conv.m, conv.kh, conv.kw, conv.group_channels()}; }

}  // namespace

Conv2d check_conv2d(const char* op, const Shape& x, std::int64_t m, const Pair& kernel,
                    const Conv2dGeometry& geometry) {
  const auto& [stride, dilation, padding, groups] = geometry;
  for (const std::int64_t value : kernel) check::integer_between(op, "the kernel", value, 1, most);
  for (const std::int64_t value : stride) check::integer_between(op, "the stride", value, 1, most);
  for (const std::int64_t value : dilation) check::integer_between(op, "the dilation", value, 1, most);
  for (const std::int64_t value : padding) check::integer_between(op, "the padding", value, 0, most);
  check::integer_between(op, "groups", groups, 1, std::numeric_limits<std::int32_t>::max());
  divides(op, "input", groups, x[3]);
  divides(op, "output", groups, m);
  Conv2d conv{.geometry = geometry,
              .n = x[0],
              .h = x[1],
              .w = x[2],
              .c = x[3],
              .m = m,
              .kh = kernel[0],
              .kw = kernel[1],
              .oh = 0,
              .ow = 0};
  conv.oh = extent(op, "rows", conv.h, padding[0], padding[1], conv.kh, stride[0], dilation[0]);
  conv.ow = extent(op, "columns", conv.w, padding[2], padding[3], conv.kw, stride[1], dilation[1]);
  return conv;
}

namespace {

/// Both forward passes, by either back end.
template <auto Cpu, auto Cuda>
Tensor forward(const char* op, const Tensor& x, const Tensor& w, const Tensor* bias,
               const Conv2dGeometry& geometry) {
  images(op, "x", x, "[N, H, W, C]");
  images(op, "w", w, "[M, KH, KW, C / groups]");
  const Conv2d conv = check_conv2d(op, x.shape(), w.dim(0), {w.dim(1), w.dim(2)}, geometry);
  check::dim(op, "w", w, 3, conv.group_channels(), "the channels of x by groups");
  if (bias != nullptr) check::f32(op, "bias", *bias, {conv.m});
  const Device device = bias != nullptr ? common_device(x, w, *bias) : common_device(x, w);
  Tensor y = Tensor::empty(DType::f32, output_shape(conv), device);
  const float* const added = bias != nullptr ? bias->data<const float>() : nullptr;
  dispatch<Cpu, Cuda>(device, conv, x.data<float>(), w.data<float>(), added, y.data<float>());
  return y;
}

}  // namespace

Tensor conv2d_forward(const Tensor& x, const Tensor& w, const Tensor* bias, const Conv2dGeometry& geometry) {
  return forward<cpu::conv2d_forward, cuda::conv2d_forward>("conv2dForward", x, w, bias, geometry);
}

Tensor ordered_conv2d_forward(const Tensor& x, const Tensor& w, const Tensor* bias,
                              const Conv2dGeometry& geometry) {
  return forward<cpu::ordered_conv2d, cuda::ordered_conv2d>("orderedConv2dForward", x, w, bias, geometry);
}

Tensor conv2d_backward_input(const Tensor& dy, const Tensor& w, const Pair& size,
                             const Conv2dGeometry& geometry) {
  constexpr const char* op = "conv2dBackwardInput";
  images(op, "dy", dy, "[N, OH, OW, M]");
  images(op, "w", w, "[M, KH, KW, C / groups]");
  for (const std::int64_t value : size) {
    check::integer_between(op, "the size", value, 0, std::numeric_limits<std::int32_t>::max());
  }
  check::integer_between(op, "groups", geometry.groups, 1, std::numeric_limits<std::int32_t>::max());
  const Conv2d conv = check_conv2d(op, {dy.dim(0), size[0], size[1], w.dim(3) * geometry.groups}, w.dim(0),
                                   {w.dim(1), w.dim(2)}, geometry);
  check::shape(op, "dy", dy, output_shape(conv));
  const Device device = common_device(dy, w);
  Tensor dx = Tensor::empty(DType::f32, {conv.n, conv.h, conv.w, conv.c}, device);
  dispatch<cpu::conv2d_backward_input, cuda::conv2d_backward_input>(device, conv, dy.data<float>(),
                                                                    w.data<float>(), dx.data<float>());
  return dx;
}

Tensor conv2d_backward_weight(const Tensor& dy, const Tensor& x, const Pair& kernel,
                              const Conv2dGeometry& geometry) {
  constexpr const char* op = "conv2dBackwardWeight";
  images(op, "dy", dy, "[N, OH, OW, M]");
  images(op, "x", x, "[N, H, W, C]");
  const Conv2d conv = check_conv2d(op, x.shape(), dy.dim(3), kernel, geometry);
  check::shape(op, "dy", dy, output_shape(conv));
  const Device device = common_device(dy, x);
  Tensor dw = Tensor::empty(DType::f32, weight_shape(conv), device);
  dispatch<cpu::conv2d_backward_weight, cuda::conv2d_backward_weight>(device, conv, dy.data<float>(),
                                                                      x.data<float>(), dw.data<float>());
  return dw;
}

}  // namespace hardbit::ops
