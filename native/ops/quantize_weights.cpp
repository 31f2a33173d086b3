#include "ops/quantize_weights.h"

#include <cmath>
#include <string>

#include "cpu/quantize_weights.h"
#include "cuda/quantize_weights.h"
#include "ops/binary_matmul.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {
namespace {

/// Weights a row.
std::int64_t columns(const Tensor& w) { return w.dim(0) == 0 ? 0 : w.count() / w.dim(0); }

void has_elements(const char* op, const Tensor& w, bool has) {
  if (has) return;
  check::fail("ERR_HARDBIT_SHAPE", op,
              "w has shape " + to_string(w.shape()) + "; expected weights to take the mean of.");
}

/// Whole numbers whose magnitudes add up to at most `most`.
template <class T>
std::vector<T> whole(const char* op, const std::vector<double>& coefficients, double most) {
  std::vector<T> result;
  double sum = 0;
  for (const double c : coefficients) {
    if (!(c == std::floor(c))) {
      check::fail("ERR_HARDBIT_ARGUMENT", op,
                  "a coefficient is " + check::text(c) + "; expected whole numbers.");
    }
    sum += std::abs(c);
    if (!(sum <= most)) {
      check::fail("ERR_HARDBIT_ARGUMENT", op,
                  "the magnitudes of the coefficients add up to more than " + check::text(most) +
                      "; expected smaller coefficients.");
    }
    result.push_back(static_cast<T>(c));
  }
  if (result.empty()) {
    check::fail("ERR_HARDBIT_ARGUMENT", op, "there are no coefficients; expected one a plane.");
  }
  return result;
}

}  // namespace

Tensor pack_signs_shifted(const Tensor& w, double shift) {
  check::dtype("packSignsShifted", "w", w, DType::f32);
  const float s = check::finite("packSignsShifted", "shift", shift);
  Tensor bits = Tensor::empty(DType::bits, w.shape(), w.device());
  dispatch<cpu::pack_signs_shifted, cuda::pack_signs_shifted>(
      w.device(), w.data<float>(), s, bits.data<std::uint64_t>(), w.rows(), w.columns());
  return bits;
}

double mean_magnitude(const Tensor& w) {
  check::dtype("meanMagnitude", "w", w, DType::f32);
  has_elements("meanMagnitude", w, w.count() > 0);
  return dispatch<cpu::sum_magnitudes, cuda::sum_magnitudes>(w.device(), w.data<float>(), w.count()) /
         static_cast<double>(w.count());
}

Tensor row_magnitudes(const Tensor& w) {
  constexpr const char* op = "rowMagnitudes";
  check::dtype(op, "w", w, DType::f32);
  check::rank_at_least(op, "w", w, 1);
  has_elements(op, w, w.dim(0) == 0 || columns(w) > 0);
  Tensor means = Tensor::empty(DType::f32, {w.dim(0)}, w.device());
  dispatch<cpu::row_magnitudes, cuda::row_magnitudes>(w.device(), w.data<float>(), means.data<float>(),
                                                      w.dim(0), columns(w));
  return means;
}

Tensor magnitude_sign_backward(const Tensor& g, const Tensor& w, const Tensor& alpha,
                               MagnitudeGradient gradient) {
  constexpr const char* op = "magnitudeSignBackward";
  check::dtype(op, "w", w, DType::f32);
  check::rank_at_least(op, "w", w, 1);
  check::f32(op, "g", g, w.shape());
  check::f32(op, "alpha", alpha, {w.dim(0)});
  const Device device = common_device(g, w, alpha);
  Tensor dw = Tensor::empty(DType::f32, w.shape(), device);
  dispatch<cpu::magnitude_sign_backward, cuda::magnitude_sign_backward>(
      device, g.data<float>(), w.data<float>(), alpha.data<float>(), gradient, dw.data<float>(), w.dim(0),
      columns(w));
  return dw;
}

DorefaWeights dorefa_weights(const Tensor& w, int bits) {
  check::dtype("dorefaWeights", "w", w, DType::f32);
  check::integer_between("dorefaWeights", "bits", bits, 1, 8);
  DorefaWeights out{Tensor::empty(DType::u8, w.shape(), w.device())};
  dispatch(
      w.device(),
      [&] {
        const Tensor t = Tensor::empty(DType::f32, w.shape());
        const float largest = cpu::tanh_weights(w.data<float>(), t.data<float>(), w.count());
        const float maximum = largest > 0 ? largest : 1;
        cpu::dorefa_codes(t.data<float>(), maximum, bits, out.codes.data<std::uint8_t>(), w.count());
        out.maximum = static_cast<double>(maximum);
      },
      [&] {
        out.maximum = cuda::dorefa_codes(w.data<float>(), bits, out.codes.data<std::uint8_t>(), w.count());
      });
  return out;
}

Tensor dorefa_weights_backward(const Tensor& g, const Tensor& w, double maximum) {
  constexpr const char* op = "dorefaWeightsBackward";
  check::dtype(op, "w", w, DType::f32);
  check::f32(op, "g", g, w.shape());
  check::finite(op, "maximum", maximum);
  if (!(maximum > 0)) {
    check::fail("ERR_HARDBIT_ARGUMENT", op,
                "maximum is " + check::text(maximum) + "; expected a number above 0.");
  }
  const Device device = common_device(g, w);
  Tensor dw = Tensor::empty(DType::f32, w.shape(), device);
  dispatch<cpu::dorefa_weights_backward, cuda::dorefa_weights_backward>(
      device, g.data<float>(), w.data<float>(), maximum, dw.data<float>(), w.count());
  return dw;
}

Tensor code_planes(const Tensor& codes, int bits) {
  constexpr const char* op = "codePlanes";
  check::dtype(op, "codes", codes, DType::u8);
  check::rank(op, "codes", codes, 2, "[M, K]");
  check::integer_between(op, "bits", bits, 1, 8);
  Tensor planes = Tensor::empty(DType::bits, {bits * codes.dim(0), codes.dim(1)}, codes.device());
  dispatch(
      codes.device(),
      [&] {
        check_code_range(op,
                         cpu::code_planes(codes.data<std::uint8_t>(), bits, planes.data<std::uint64_t>(),
                                          codes.dim(0), codes.dim(1)),
                         bits);
      },
      [&] {
        cuda::code_planes(codes.data<std::uint8_t>(), bits, planes.data<std::uint64_t>(), codes.dim(0),
                          codes.dim(1));
      });
  return planes;
}

Tensor planes_to_float(const Tensor& planes, const std::vector<double>& coefficients, const Tensor& scale) {
  constexpr const char* op = "planesToFloat";
  check::dtype(op, "planes", planes, DType::bits);
  check::rank(op, "planes", planes, 2, "[P·M, K]");
  check::dtype(op, "scale", scale, DType::f32);
  check::rank(op, "scale", scale, 1, "[M]");
  // Sums of whole numbers below 2^24 are exact in fp32.
  const auto factors = whole<float>(op, coefficients, 0x1p24);
  check::dim(op, "planes", planes, 0, static_cast<std::int64_t>(factors.size()) * scale.dim(0),
             "the coefficients by the length of scale");
  const Device device = common_device(planes, scale);
  Tensor w = Tensor::empty(DType::f32, {scale.dim(0), planes.dim(1)}, device);
  dispatch<cpu::planes_to_float, cuda::planes_to_float>(device, planes.data<std::uint64_t>(), factors,
                                                        scale.data<float>(), w.data<float>(), w.dim(0),
                                                        w.dim(1));
  return w;
}

Tensor combine_planes(const Tensor& y, const std::vector<double>& coefficients) {
  constexpr const char* op = "combinePlanes";
  check::dtype(op, "y", y, {DType::i16, DType::i32});
  check::rank_at_least(op, "y", y, 1);
  const auto factors = whole<std::int32_t>(op, coefficients, 65535);
  const auto planes = static_cast<std::int64_t>(factors.size());
  if (y.columns() % planes != 0) {
    check::fail("ERR_HARDBIT_SHAPE", op,
                "y has shape " + to_string(y.shape()) + "; expected the last dimension to be a multiple of " +
                    std::to_string(planes) + ", the number of coefficients.");
  }
  Shape shape = y.shape();
  shape.back() /= planes;
  Tensor sums = Tensor::empty(DType::i32, shape, y.device());
  const auto run = [&]<class T>(const T* values) {
    dispatch<cpu::combine_planes<T>, cuda::combine_planes<T>>(
        y.device(), values, factors, sums.data<std::int32_t>(), y.rows(), shape.back());
  };
  y.dtype() == DType::i16 ? run(y.data<const std::int16_t>()) : run(y.data<const std::int32_t>());
  return sums;
}

}  // namespace hardbit::ops
