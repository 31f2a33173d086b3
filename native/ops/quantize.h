#pragma once
#include "runtime/tensor.h"

namespace hardbit::ops {

// Quantizers of activations. x and dy f32 of one shape, any rank.

/// dy·β(2 − βx·tanh(βx/2)) / (1 + cosh βx), the slope of SignSwish, in double and rounded once; 0 where x is
/// infinite. Darabi et al., "BNN+", arXiv 1812.11800, eq. 4. beta is above 0.
Tensor swish_sign_backward(const Tensor& dy, const Tensor& x, double beta);
/// dy where |x| ≤ 1, else +0 (also where x is NaN).
Tensor clipped_backward(const Tensor& dy, const Tensor& x);
/// u8: 1 where x > 0, else 0 (also where x is NaN).
Tensor heaviside(const Tensor& x);
/// u8 codes quantize_code(x, bits), which clips to [0, 1]; a NaN gives 0. Zhou et al., "DoReFa-Net", arXiv
/// 1606.06160, section 2.4. bits outside 1 … 8: ERR_HARDBIT_ARGUMENT.
Tensor quantize_unit(const Tensor& x, int bits);
/// dy where 0 ≤ x ≤ 1, else +0 (also where x is NaN).
Tensor unit_backward(const Tensor& dy, const Tensor& x);
/// f32 | i16 | i32 […, C], scales f32 [C] → f32, fl(float(x)·scales[c]).
Tensor scale_channels(const Tensor& x, const Tensor& scales);
/// Places where two bits tensors of one shape differ. Waits for the GPU.
std::int64_t count_different_signs(const Tensor& a, const Tensor& b);

}  // namespace hardbit::ops
