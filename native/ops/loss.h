#pragma once
#include "runtime/tensor.h"

namespace hardbit::ops {

struct CrossEntropy {
  Tensor losses;    // f32 [N]
  Tensor gradient;  // f32 [N, C]
};

/// losses = log Σ_j exp(z_j) − z_label and gradient_scale·(softmax(z) − onehot) for logits z f32 [N, C] and
/// labels i32 [N] in [0, C), else ERR_HARDBIT_LABELS
/// (on a GPU by the next read from it). Computed in double, without cancellation on confident
/// rows.
CrossEntropy softmax_cross_entropy(const Tensor& logits, const Tensor& labels, double gradient_scale);

/// Index of the largest logit (the first among equals; a NaN never wins, 0 where all are NaN), i32 [N]; C
/// >= 1.
Tensor argmax(const Tensor& logits);

}  // namespace hardbit::ops
