#pragma once
#include <vector>

#include "runtime/tensor.h"

namespace hardbit::ops {

// Quantizers of weights. w f32 [M, …]: M output channels, each a row of K weights (all other dimensions);
// gradients f32 of w's shape. Planes are bits [P·M, K], plane p in rows p·M … (p + 1)·M − 1.

/// bits of w's shape, sign(fl(w + shift)), sign(0) = +1; a NaN gives −1.
Tensor pack_signs_shifted(const Tensor& w, double shift);
/// Mean of |w| over all elements, summed in double in an order that does not depend on the thread count. An
/// empty w: ERR_HARDBIT_SHAPE. Waits for the GPU.
double mean_magnitude(const Tensor& w);
/// Mean of |w| of each row, f32 [M], summed in double. Empty rows: ERR_HARDBIT_SHAPE.
Tensor row_magnitudes(const Tensor& w);

/// Which gradient of α·sign(w), α = mean|w| a row, see magnitude_sign_backward.
enum class MagnitudeGradient { constant, paper, chain };

/// dW from the gradient g of α·sign(w), alpha f32 [M], n = K:
///  constant  fl(α·g)·1[|w| ≤ 1], α held constant (Larq);
///  paper     fl(g·(1/n + α·1[|w| ≤ 1])), Rastegari et al., "XNOR-Net", arXiv 1603.05279, eq. 11;
///  chain     fl(α·g·1[|w| ≤ 1] + sign(w)·Σ sign(w)·g / n), the sum over the row, sign(0) = +1.
/// The last two in double, rounded once.
Tensor magnitude_sign_backward(const Tensor& g, const Tensor& w, const Tensor& alpha,
                               MagnitudeGradient gradient);

struct DorefaWeights {
  Tensor codes;        // u8, w's shape
  double maximum = 1;  // m, an fp32 number
};

/// DoReFa's weights (arXiv 1606.06160, eq. 9) as codes: t = fl(tanh w), m = max|t| over all weights (1 where
/// all are 0), codes quantize_code(fl(fl(t / fl(2m)) + ½), bits); the weight is 2·code / (2^bits − 1) − 1. A
/// NaN has the code 0 and no part in m. bits outside 1 … 8: ERR_HARDBIT_ARGUMENT. Waits for the GPU.
DorefaWeights dorefa_weights(const Tensor& w, int bits);
/// g·(1 − tanh²w) / maximum in double, rounded once; maximum is above 0.
Tensor dorefa_weights_backward(const Tensor& g, const Tensor& w, double maximum);

/// Codes u8 [M, K] of `bits` bits → planes bits [bits·M, K], plane p the bit 2^p. A larger code, or bits
/// outside 1 … 8: ERR_HARDBIT_ARGUMENT; of a larger code on the GPU, the next read from there throws it.
Tensor code_planes(const Tensor& codes, int bits);
/// f32 [M, K] = fl(scale[m]·Σ_p coefficients[p]·plane_p), scale f32 [M]. Coefficients that are no whole
/// numbers, or whose magnitudes add up to more than 2^24: ERR_HARDBIT_ARGUMENT.
Tensor planes_to_float(const Tensor& planes, const std::vector<double>& coefficients, const Tensor& scale);
/// y i16 | i32 […, P·M] → i32 […, M]: Σ_p coefficients[p]·y[…, p·M + m]. Coefficients that are no whole
/// numbers, or whose magnitudes add up to more than 65535: ERR_HARDBIT_ARGUMENT. That holds every sum of i16
/// in an i32; of i32 values the caller guarantees it (a larger sum wraps around).
Tensor combine_planes(const Tensor& y, const std::vector<double>& coefficients);

}  // namespace hardbit::ops
