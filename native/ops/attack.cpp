#include "ops/attack.h"

#include "cpu/attack.h"
#include "cuda/attack.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {
namespace {

std::int64_t columns(const Tensor& x) { return x.dim(0) == 0 ? 0 : x.count() / x.dim(0); }

}  // namespace

Tensor attack_step(const Tensor& x, const Tensor& gradient, const Tensor& origin, double step_size,
                   double epsilon) {
  constexpr const char* op = "attackStep";
  check::dtype(op, "x", x, DType::f32);
  check::f32(op, "gradient", gradient, x.shape());
  check::f32(op, "origin", origin, x.shape());
  const float step = check::finite(op, "stepSize", step_size);
  const float eps = check::between(op, "epsilon", epsilon, 0, 1);
  const Device device = common_device(x, gradient, origin);
  Tensor y = Tensor::empty(DType::f32, x.shape(), device);
  dispatch<cpu::attack_step, cuda::attack_step>(device, x.data<float>(), gradient.data<float>(),
                                                origin.data<float>(), step, eps, y.data<float>(), x.count());
  return y;
}

Tensor attack_uniform_start(const Tensor& origin, double radius, double epsilon, std::uint64_t seed,
                            std::uint64_t stream, std::uint64_t first_row) {
  constexpr const char* op = "attackUniformStart";
  check::dtype(op, "origin", origin, DType::f32);
  check::rank_at_least(op, "origin", origin, 1);
  const float r = check::between(op, "radius", radius, 0, 1);
  const float eps = check::between(op, "epsilon", epsilon, 0, 1);
  const std::uint32_t word = check::stream(op, stream);
  Tensor y = Tensor::empty(DType::f32, origin.shape(), origin.device());
  dispatch<cpu::attack_uniform_start, cuda::attack_uniform_start>(
      origin.device(), origin.data<float>(), r, eps, Philox(seed), word, first_row, y.data<float>(),
      origin.dim(0), columns(origin));
  return y;
}

Tensor attack_sign_start(const Tensor& origin, double alpha, double epsilon, std::uint64_t seed,
                         std::uint64_t stream, std::uint64_t first_row) {
  constexpr const char* op = "attackSignStart";
  check::dtype(op, "origin", origin, DType::f32);
  check::rank_at_least(op, "origin", origin, 1);
  const float a = check::between(op, "alpha", alpha, 0, 1);
  const float eps = check::between(op, "epsilon", epsilon, 0, 1);
  const std::uint32_t word = check::stream(op, stream);
  Tensor y = Tensor::empty(DType::f32, origin.shape(), origin.device());
  dispatch<cpu::attack_sign_start, cuda::attack_sign_start>(origin.device(), origin.data<float>(), a, eps,
                                                            Philox(seed), word, first_row, y.data<float>(),
                                                            origin.dim(0), columns(origin));
  return y;
}

Tensor attack_step_l2(const Tensor& x, const Tensor& gradient, const Tensor& origin, double step_size,
                      double epsilon) {
  constexpr const char* op = "attackStepL2";
  check::dtype(op, "x", x, DType::f32);
  check::rank_at_least(op, "x", x, 1);
  check::f32(op, "gradient", gradient, x.shape());
  check::f32(op, "origin", origin, x.shape());
  check::finite(op, "stepSize", step_size);
  check::not_negative(op, "epsilon", epsilon);
  const Device device = common_device(x, gradient, origin);
  Tensor y = Tensor::empty(DType::f32, x.shape(), device);
  dispatch<cpu::attack_step_l2, cuda::attack_step_l2>(device, x.data<float>(), gradient.data<float>(),
                                                      origin.data<float>(), step_size, epsilon,
                                                      y.data<float>(), x.dim(0), columns(x));
  return y;
}

Tensor attack_uniform_start_l2(const Tensor& origin, double epsilon, std::uint64_t seed, std::uint64_t stream,
                               std::uint64_t first_row) {
  constexpr const char* op = "attackUniformStartL2";
  check::dtype(op, "origin", origin, DType::f32);
  check::rank_at_least(op, "origin", origin, 1);
  check::not_negative(op, "epsilon", epsilon);
  const std::uint32_t word = check::stream(op, stream);
  Tensor y = Tensor::empty(DType::f32, origin.shape(), origin.device());
  dispatch<cpu::attack_uniform_start_l2, cuda::attack_uniform_start_l2>(
      origin.device(), origin.data<float>(), epsilon, Philox(seed), word, first_row, y.data<float>(),
      origin.dim(0), columns(origin));
  return y;
}

Tensor row_distances(const Tensor& a, const Tensor& b) {
  constexpr const char* op = "rowDistances";
  check::dtype(op, "a", a, DType::f32);
  check::rank_at_least(op, "a", a, 1);
  check::f32(op, "b", b, a.shape());
  const Device device = common_device(a, b);
  Tensor distances = Tensor::empty(DType::f32, {a.dim(0)}, device);
  dispatch<cpu::row_distances, cuda::row_distances>(device, a.data<float>(), b.data<float>(),
                                                    distances.data<float>(), a.dim(0), columns(a));
  return distances;
}

std::int64_t count_flippable(const Tensor& x, double epsilon, int bits) {
  constexpr const char* op = "countFlippable";
  check::dtype(op, "x", x, DType::f32);
  const float eps = check::between(op, "epsilon", epsilon, 0, 1);
  check::integer_between(op, "bits", bits, 1, 8);
  return dispatch<cpu::count_flippable, cuda::count_flippable>(x.device(), x.data<float>(), eps, bits,
                                                               x.count());
}

Perturbation perturbation(const Tensor& a, const Tensor& b, double epsilon) {
  constexpr const char* op = "perturbation";
  check::dtype(op, "a", a, DType::f32);
  check::f32(op, "b", b, a.shape());
  const float eps = check::between(op, "epsilon", epsilon, 0, 1);
  return dispatch<cpu::perturbation, cuda::perturbation>(common_device(a, b), a.data<float>(),
                                                         b.data<float>(), eps, a.count());
}

std::int64_t count_invalid_pixels(const Tensor& x) {
  check::dtype("countInvalidPixels", "x", x, DType::f32);
  return dispatch<cpu::count_invalid_pixels, cuda::count_invalid_pixels>(x.device(), x.data<float>(),
                                                                         x.count());
}

}  // namespace hardbit::ops
