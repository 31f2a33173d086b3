#include "ops/dense.h"

#include "cpu/dense.h"
#include "cpu/onednn.h"
#include "cpu/ordered_float.h"
#include "cuda/dense.h"
#include "cuda/ordered_float.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {
namespace {

void matrix(const char* op, const char* what, const Tensor& t, const char* layout) {
  check::dtype(op, what, t, DType::f32);
  check::rank(op, what, t, 2, layout);
}

/// Both forward passes: run(device, n, m, k, x, w, bias, y) is the back ends'.
template <class Run>
Tensor forward(const char* op, const Tensor& x, const Tensor& w, const Tensor* bias, const Run& run) {
  matrix(op, "x", x, "[N, K]");
  matrix(op, "w", w, "[M, K]");
  check::dim(op, "w", w, 1, x.dim(1), "the columns of x");
  const std::int64_t n = x.dim(0);
  const std::int64_t k = x.dim(1);
  const std::int64_t m = w.dim(0);
  if (bias != nullptr) check::f32(op, "bias", *bias, {m});
  const Device device = bias != nullptr ? common_device(x, w, *bias) : common_device(x, w);
  Tensor y = Tensor::empty(DType::f32, {n, m}, device);
  run(device, n, m, k, x.data<float>(), w.data<float>(), bias != nullptr ? bias->data<float>() : nullptr,
      y.data<float>());
  return y;
}

}  // namespace

Tensor dense_forward(const Tensor& x, const Tensor& w, const Tensor* bias) {
  return forward("denseForward", x, w, bias, [](Device device, auto... operands) {
    dispatch<cpu::matmul, cuda::matmul>(device, false, true, operands...);
  });
}

Tensor ordered_dense_forward(const Tensor& x, const Tensor& w, const Tensor* bias) {
  return forward("orderedDenseForward", x, w, bias, [](Device device, auto... operands) {
    dispatch<cpu::ordered_matmul, cuda::ordered_matmul>(device, operands...);
  });
}

Tensor dense_backward_input(const Tensor& dy, const Tensor& w) {
  constexpr const char* op = "denseBackwardInput";
  matrix(op, "dy", dy, "[N, M]");
  matrix(op, "w", w, "[M, K]");
  check::dim(op, "w", w, 0, dy.dim(1), "the columns of dy");
  const Device device = common_device(dy, w);
  Tensor dx = Tensor::empty(DType::f32, {dy.dim(0), w.dim(1)}, device);
  dispatch<cpu::matmul, cuda::matmul>(device, false, false, dy.dim(0), w.dim(1), w.dim(0), dy.data<float>(),
                                      w.data<float>(), nullptr, dx.data<float>());
  return dx;
}

Tensor dense_backward_weight(const Tensor& dy, const Tensor& x) {
  constexpr const char* op = "denseBackwardWeight";
  matrix(op, "dy", dy, "[N, M]");
  matrix(op, "x", x, "[N, K]");
  check::dim(op, "x", x, 0, dy.dim(0), "the rows of dy");
  const Device device = common_device(dy, x);
  Tensor dw = Tensor::empty(DType::f32, {dy.dim(1), x.dim(1)}, device);
  dispatch<cpu::matmul, cuda::matmul>(device, true, false, dy.dim(1), x.dim(1), dy.dim(0), dy.data<float>(),
                                      x.data<float>(), nullptr, dw.data<float>());
  return dw;
}

Tensor sum_rows(const Tensor& dy) {
  check::dtype("sumRows", "dy", dy, DType::f32);
  check::rank_at_least("sumRows", "dy", dy, 2);
  Tensor sums = Tensor::empty(DType::f32, {dy.columns()}, dy.device());
  dispatch<cpu::sum_rows, cuda::sum_rows>(dy.device(), dy.data<float>(), sums.data<float>(), dy.rows(),
                                          dy.columns());
  return sums;
}

}  // namespace hardbit::ops
