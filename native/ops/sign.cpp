#include "ops/sign.h"

#include "cpu/sign.h"
#include "cuda/sign.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {

SignForward sign_forward(const Tensor& x) {
  check::dtype("signForward", "x", x, DType::f32);
  SignForward y{Tensor::empty(DType::bits, x.shape(), x.device()),
                Tensor::empty(DType::bits, x.shape(), x.device())};
  dispatch<cpu::sign_forward, cuda::sign_forward>(x.device(), x.data<float>(), y.signs.data<std::uint64_t>(),
                                                  y.mask.data<std::uint64_t>(), x.rows(), x.columns());
  return y;
}

Tensor mask_backward(const Tensor& dy, const Tensor& mask) {
  check::dtype("maskBackward", "mask", mask, DType::bits);
  check::f32("maskBackward", "dy", dy, mask.shape());
  const Device device = common_device(dy, mask);
  Tensor dx = Tensor::empty(DType::f32, dy.shape(), device);
  dispatch<cpu::mask_backward, cuda::mask_backward>(device, dy.data<float>(), mask.data<std::uint64_t>(),
                                                    dx.data<float>(), dy.rows(), dy.columns());
  return dx;
}

Tensor approx_sign_backward(const Tensor& dy, const Tensor& x) {
  check::dtype("approxSignBackward", "x", x, DType::f32);
  check::f32("approxSignBackward", "dy", dy, x.shape());
  const Device device = common_device(dy, x);
  Tensor dx = Tensor::empty(DType::f32, x.shape(), device);
  dispatch<cpu::approx_sign_backward, cuda::approx_sign_backward>(device, dy.data<float>(), x.data<float>(),
                                                                  dx.data<float>(), x.count());
  return dx;
}

}  // namespace hardbit::ops
