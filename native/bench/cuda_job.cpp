#include "bench/job.h"
#include "runtime/cuda_build.h"
#include "runtime/error.h"
#if HARDBIT_CUDA
#include "cuda/binary_product.h"
#include "ops/bits.h"
#include "ops/discretize.h"
#include "ops/random.h"
#endif

namespace hardbit::bench {

#if HARDBIT_CUDA

namespace {

class CudaLayerJob : public Job {
 public:
  CudaLayerJob(const Layer& layer, int bits, bool pool)
      : conv_(layer.conv()),
        x_(input(conv_, bits)),
        weights_({.conv = conv_,
                  .padding = ops::PaddingValue::zero,
                  .codes = bits > 0,
                  .bits = bits > 0 ? bits : 1},
                 signs({conv_.m, conv_.k()}, 2).data<const std::uint64_t>()),
        minimum_(Tensor::zeros(DType::i32, {conv_.m}, Device::cuda)) {
    thresholds_.minimum = minimum_.data<const std::int32_t>();
    std::int64_t height = conv_.oh;
    std::int64_t width = conv_.ow;
    if (pool) {
      thresholds_.pool = {.kernel = {2, 2}, .stride = {2, 2}};
      thresholds_.pooled = {height /= 2, width /= 2};
    }
    const bool stationary = weights_.stationary() != nullptr && weights_.stationary()->fuses(thresholds_) &&
                            weights_.stationary()->pays(conv_.n);
    const bool by_bands = weights_.bands() != nullptr && weights_.bands()->pays(conv_.n);
    kernel_ = weights_.layout().operand == cuda::ProductOperand::bytes ? "bytes (s8 mma)"
              : stationary                                             ? "bits (b1, weights in registers)"
              : by_bands                                               ? "bits (b1, bands of images)"
                                                                       : "bits (b1 mma)";
    out_ = Tensor::empty(DType::bits, {conv_.n, height, width, conv_.m}, Device::cuda);
    cuda::synchronize();
  }

  void run(std::int64_t times) override {
    for (std::int64_t i = 0; i < times; ++i) {
      cuda::binary_layer(weights_, conv_.n, x_.raw(), thresholds_, out_.data<std::uint64_t>());
    }
    cuda::synchronize();
  }

 private:
  static Tensor signs(const Shape& shape, std::uint64_t seed) {
    return ops::pack_signs(ops::random_uniform(shape, -1, 1, seed, 0, Device::cuda));
  }
  static Tensor input(const ops::Conv2d& conv, int bits) {
    const Shape shape{conv.n, conv.h, conv.w, conv.c};
    if (bits == 0) return signs(shape, 1);
    return ops::discretize(ops::random_uniform(shape, 0, 1, 1, 0, Device::cuda), bits);
  }

  ops::Conv2d conv_;
  Tensor x_;
  cuda::BinaryWeights weights_;
  Tensor minimum_;
  cuda::BinaryThresholds thresholds_;
  Tensor out_;
};

}  // namespace

std::unique_ptr<Job> cuda_layer_job(const Layer& layer, int bits, bool pool) {
  return std::make_unique<CudaLayerJob>(layer, bits, pool);
}

#else

std::unique_ptr<Job> cuda_layer_job(const Layer&, int, bool) {
  throw Error("ERR_HARDBIT_NO_CUDA", "This build of hardbit has no CUDA support; use the cpu device.");
}

#endif

}  // namespace hardbit::bench
