#include "ops/elementwise.h"

#include "cpu/elementwise.h"
#include "cuda/elementwise.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {

Tensor u8_to_float(const Tensor& x) {
  check::dtype("u8ToFloat", "x", x, DType::u8);
  Tensor y = Tensor::empty(DType::f32, x.shape(), x.device());
  dispatch<cpu::u8_to_float, cuda::u8_to_float>(x.device(), x.data<std::uint8_t>(), y.data<float>(),
                                                x.count());
  return y;
}

Tensor int_to_float(const Tensor& x, double scale) {
  check::dtype("intToFloat", "x", x, {DType::i16, DType::i32});
  const float factor = check::finite("intToFloat", "scale", scale);
  Tensor y = Tensor::empty(DType::f32, x.shape(), x.device());
  const auto run = [&]<class T>(const T* values) {
    dispatch<cpu::int_to_float<T>, cuda::int_to_float<T>>(x.device(), values, factor, y.data<float>(),
                                                          x.count());
  };
  x.dtype() == DType::i16 ? run(x.data<const std::int16_t>()) : run(x.data<const std::int32_t>());
  return y;
}

void axpy(const Tensor& y, double a, const Tensor& x) {
  check::dtype("axpy", "y", y, DType::f32);
  check::f32("axpy", "x", x, y.shape());
  const float factor = check::finite("axpy", "a", a);
  dispatch<cpu::axpy, cuda::axpy>(common_device(y, x), y.data<float>(), factor, x.data<float>(), x.count());
}

Tensor relu(const Tensor& x) {
  check::dtype("relu", "x", x, DType::f32);
  Tensor y = Tensor::empty(DType::f32, x.shape(), x.device());
  dispatch<cpu::relu, cuda::relu>(x.device(), x.data<float>(), y.data<float>(), x.count());
  return y;
}

Tensor relu_backward(const Tensor& dy, const Tensor& y) {
  check::dtype("reluBackward", "y", y, DType::f32);
  check::f32("reluBackward", "dy", dy, y.shape());
  const Device device = common_device(dy, y);
  Tensor dx = Tensor::empty(DType::f32, y.shape(), device);
  dispatch<cpu::relu_backward, cuda::relu_backward>(device, dy.data<float>(), y.data<float>(),
                                                    dx.data<float>(), y.count());
  return dx;
}

Tensor add(const Tensor& a, const Tensor& b) {
  check::dtype("add", "a", a, DType::f32);
  check::f32("add", "b", b, a.shape());
  const Device device = common_device(a, b);
  Tensor y = Tensor::empty(DType::f32, a.shape(), device);
  dispatch<cpu::add, cuda::add>(device, a.data<float>(), b.data<float>(), y.data<float>(), a.count());
  return y;
}

Tensor hardtanh(const Tensor& x) {
  check::dtype("hardtanh", "x", x, DType::f32);
  Tensor y = Tensor::empty(DType::f32, x.shape(), x.device());
  dispatch<cpu::hardtanh, cuda::hardtanh>(x.device(), x.data<float>(), y.data<float>(), x.count());
  return y;
}

Tensor hardtanh_backward(const Tensor& dy, const Tensor& x) {
  check::dtype("hardtanhBackward", "x", x, DType::f32);
  check::f32("hardtanhBackward", "dy", dy, x.shape());
  const Device device = common_device(dy, x);
  Tensor dx = Tensor::empty(DType::f32, x.shape(), device);
  dispatch<cpu::hardtanh_backward, cuda::hardtanh_backward>(device, dy.data<float>(), x.data<float>(),
                                                            dx.data<float>(), x.count());
  return dx;
}

}  // namespace hardbit::ops
