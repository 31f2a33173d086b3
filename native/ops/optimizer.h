#pragma once
#include <cstdint>

#include "runtime/tensor.h"

namespace hardbit::ops {

struct AdamParameters {
  double learning_rate = 0.001;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  std::int64_t step = 1;    // 1 for the first step (bias correction)
  double weight_decay = 0;  // decoupled
  double clip = 0;          // values stay in [−clip, clip]; 0 for no clipping
};

struct SgdParameters {
  double learning_rate = 0.01;
  double momentum = 0;
  bool nesterov = false;
  double weight_decay = 0;  // added to the gradient
  double clip = 0;
};

struct BopParameters {
  double gamma = 1e-4;      // weight of the newest gradient in the moving average, 0 … 1
  double threshold = 1e-8;  // 0 or more
};

/// Adam (Kingma & Ba 2015) with the weight decay of Loshchilov & Hutter 2019, in PyTorch's order of
/// operations: w ← w·(1 − lr·decay); m ← b1·m + (1 − b1)·g; v ← b2·v + (1 − b2)·g²; w ← w − lr/(1 − b1^t) · m
/// / (sqrt(v)/sqrt(1 − b2^t) + epsilon). All f32, one shape, in place.
void adam_step(const Tensor& value, const Tensor& gradient, const Tensor& m, const Tensor& v,
               const AdamParameters& parameters);

/// g ← g + decay·w; velocity ← momentum·velocity + g; g ← g + momentum·velocity (Nesterov) or velocity;
/// w ← w − lr·g. `velocity` may be null where momentum is 0. All f32, one shape, in place.
void sgd_step(const Tensor& value, const Tensor& gradient, const Tensor* velocity,
              const SgdParameters& parameters);

/// Bop (Helwegen et al. 2019, arXiv 1906.02107, algorithm 1) on weights that are all ±1:
/// m ← fl(fl((1 − gamma)·m) + fl(gamma·g)); w ← −w where fl(w·m) > threshold. All f32, one shape, in place.
void bop_step(const Tensor& weights, const Tensor& gradient, const Tensor& m,
              const BopParameters& parameters);

/// average ← decay·average + (1 − decay)·value in double, rounded once; both f32 of one shape, in place.
/// decay is from 0 to 1.
void average_step(const Tensor& average, const Tensor& value, double decay);

}  // namespace hardbit::ops
