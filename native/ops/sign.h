#pragma once
#include "runtime/tensor.h"

namespace hardbit::ops {

struct SignForward {
  Tensor signs;  // bits, pack_signs(x)
  Tensor mask;  // bits, 1 where |x| ≤ 1 (a NaN gives 0): where the straight-through estimator lets gradients
                // pass
};

/// x f32 → its signs and the mask of the clipped straight-through estimator (Hubara et al., arXiv
/// 1602.02830).
SignForward sign_forward(const Tensor& x);
/// dy f32 where the mask's bit is 1, else +0; mask bits of dy's shape.
Tensor mask_backward(const Tensor& dy, const Tensor& mask);
/// fl(dy · fl(2 − 2|x|)) where |x| ≤ 1, else +0 (also where x is NaN): Bi-Real Net's estimator, arXiv
/// 1808.00278. All f32 of one shape.
Tensor approx_sign_backward(const Tensor& dy, const Tensor& x);

}  // namespace hardbit::ops
