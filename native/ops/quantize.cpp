#include "ops/quantize.h"

#include "cpu/discretize.h"
#include "cpu/quantize.h"
#include "cuda/discretize.h"
#include "cuda/quantize.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {
namespace {

/// An empty dx for dy and x, checked.
Tensor gradient_like(const char* op, const Tensor& dy, const Tensor& x) {
  check::dtype(op, "x", x, DType::f32);
  check::f32(op, "dy", dy, x.shape());
  return Tensor::empty(DType::f32, x.shape(), common_device(dy, x));
}

}  // namespace

Tensor swish_sign_backward(const Tensor& dy, const Tensor& x, double beta) {
  constexpr const char* op = "swishSignBackward";
  check::finite(op, "beta", beta);
  if (!(beta > 0)) {
    check::fail("ERR_HARDBIT_ARGUMENT", op, "beta is " + check::text(beta) + "; expected a number above 0.");
  }
  Tensor dx = gradient_like(op, dy, x);
  dispatch<cpu::swish_sign_backward, cuda::swish_sign_backward>(
      dx.device(), dy.data<float>(), x.data<float>(), beta, dx.data<float>(), x.count());
  return dx;
}

Tensor clipped_backward(const Tensor& dy, const Tensor& x) {
  Tensor dx = gradient_like("clippedBackward", dy, x);
  dispatch<cpu::clipped_backward, cuda::clipped_backward>(dx.device(), dy.data<float>(), x.data<float>(),
                                                          dx.data<float>(), x.count());
  return dx;
}

Tensor heaviside(const Tensor& x) {
  check::dtype("heaviside", "x", x, DType::f32);
  Tensor codes = Tensor::empty(DType::u8, x.shape(), x.device());
  dispatch<cpu::heaviside, cuda::heaviside>(x.device(), x.data<float>(), codes.data<std::uint8_t>(),
                                            x.count());
  return codes;
}

Tensor quantize_unit(const Tensor& x, int bits) {
  check::dtype("quantizeUnit", "x", x, DType::f32);
  check::integer_between("quantizeUnit", "bits", bits, 1, 8);
  Tensor codes = Tensor::empty(DType::u8, x.shape(), x.device());
  dispatch<cpu::discretize, cuda::discretize>(x.device(), x.data<float>(), codes.data<std::uint8_t>(),
                                              x.count(), bits);
  return codes;
}

Tensor unit_backward(const Tensor& dy, const Tensor& x) {
  Tensor dx = gradient_like("unitBackward", dy, x);
  dispatch<cpu::unit_backward, cuda::unit_backward>(dx.device(), dy.data<float>(), x.data<float>(),
                                                    dx.data<float>(), x.count());
  return dx;
}

Tensor scale_channels(const Tensor& x, const Tensor& scales) {
  constexpr const char* op = "scaleChannels";
  check::dtype(op, "x", x, {DType::f32, DType::i16, DType::i32});
  check::rank_at_least(op, "x", x, 1);
  check::f32(op, "scales", scales, {x.columns()});
  const Device device = common_device(x, scales);
  Tensor y = Tensor::empty(DType::f32, x.shape(), device);
  const auto scale = [&]<class T>(const T* p) {
    dispatch<cpu::scale_channels<T>, cuda::scale_channels<T>>(device, p, scales.data<float>(),
                                                              y.data<float>(), x.rows(), x.columns());
  };
  switch (x.dtype()) {
    case DType::i16:
      scale(x.data<const std::int16_t>());
      break;
    case DType::i32:
      scale(x.data<const std::int32_t>());
      break;
    default:
      scale(x.data<const float>());
  }
  return y;
}

std::int64_t count_different_signs(const Tensor& a, const Tensor& b) {
  constexpr const char* op = "countDifferentSigns";
  check::dtype(op, "a", a, DType::bits);
  check::dtype(op, "b", b, DType::bits);
  check::shape(op, "b", b, a.shape());
  return dispatch<cpu::count_different_bits, cuda::count_different_bits>(
      common_device(a, b), a.data<std::uint64_t>(), b.data<std::uint64_t>(), a.rows() * a.row_words());
}

}  // namespace hardbit::ops
