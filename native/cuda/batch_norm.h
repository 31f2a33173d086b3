#pragma once
#include "ops/batch_norm.h"
#include "runtime/tensor.h"

namespace hardbit::cuda {

// The operators of ops/batch_norm.h on valid operands, into allocated results.

void batch_norm_train(const Tensor& x, float scale, const Tensor& gamma, const Tensor& beta,
                      const Tensor& running_mean, const Tensor& running_variance, double momentum,
                      double epsilon, const ops::BatchNormTrained& out);
void batch_norm_backward(const Tensor& dy, const Tensor& x, float scale, const Tensor& gamma,
                         const Tensor& mean, const Tensor& inverse_deviation,
                         const ops::BatchNormGradients& out);
void batch_norm_eval(const Tensor& x, float scale, const Tensor& gamma, const Tensor& beta,
                     const Tensor& running_mean, const Tensor& running_variance, float epsilon,
                     const Tensor& y);
void batch_norm_eval_backward(const Tensor& dy, const Tensor& gamma, const Tensor& running_variance,
                              float epsilon, const Tensor& dx);

void batch_norm_sign_train(const Tensor& x, float scale, const Tensor& gamma, const Tensor& beta,
                           const Tensor& running_mean, const Tensor& running_variance, double momentum,
                           double epsilon, const ops::BatchNormSignTrained& out);
void batch_norm_sign_backward(const Tensor& dy, const Tensor& x, float scale, const Tensor& gamma,
                              const Tensor& beta, const Tensor& mean, const Tensor& inverse_deviation,
                              ops::SignSurrogate surrogate, const Tensor* mask,
                              const ops::BatchNormGradients& out);
void batch_norm_sign_eval(const Tensor& x, float scale, const Tensor& gamma, const Tensor& beta,
                          const Tensor& running_mean, const Tensor& running_variance, float epsilon,
                          const ops::BatchNormSigns& y);
void batch_norm_sign_eval_backward(const Tensor& dy, const Tensor* x, float scale, const Tensor& gamma,
                                   const Tensor& beta, const Tensor& running_mean,
                                   const Tensor& running_variance, float epsilon,
                                   ops::SignSurrogate surrogate, const Tensor* mask, const Tensor& dx);

}  // namespace hardbit::cuda
