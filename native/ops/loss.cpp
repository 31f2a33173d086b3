#include "ops/loss.h"

#include <limits>

#include "cpu/loss.h"
#include "cuda/loss.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {
namespace {

void check_logits(const char* op, const Tensor& logits) {
  check::dtype(op, "logits", logits, DType::f32);
  check::rank(op, "logits", logits, 2, "[N, C]");
  if (logits.dim(1) < 1 || logits.dim(1) > std::numeric_limits<std::int32_t>::max()) {
    check::fail("ERR_HARDBIT_SHAPE", op,
                "logits has shape " + to_string(logits.shape()) + "; expected 1 to 2147483647 classes.");
  }
}

}  // namespace

CrossEntropy softmax_cross_entropy(const Tensor& logits, const Tensor& labels, double gradient_scale) {
  constexpr const char* op = "softmaxCrossEntropy";
  check_logits(op, logits);
  const std::int64_t rows = logits.dim(0);
  const std::int64_t classes = logits.dim(1);
  check::dtype(op, "labels", labels, DType::i32);
  check::shape(op, "labels", labels, {rows});
  const float scale = check::finite(op, "gradientScale", gradient_scale);
  const Device device = common_device(logits, labels);
  // Labels on the GPU are checked by the kernel.
  for (std::int64_t i = 0; device == Device::cpu && i < rows; ++i) {
    const std::int32_t label = labels.data<std::int32_t>()[i];
    if (label < 0 || label >= classes) {
      check::fail("ERR_HARDBIT_LABELS", op,
                  "the label of row " + std::to_string(i) + " is " + std::to_string(label) +
                      "; expected an integer in [0, " + std::to_string(classes) + ").");
    }
  }
  CrossEntropy out{Tensor::empty(DType::f32, {rows}, device),
                   Tensor::empty(DType::f32, logits.shape(), device)};
  dispatch<cpu::softmax_cross_entropy, cuda::softmax_cross_entropy>(
      device, logits.data<float>(), labels.data<std::int32_t>(), scale, out.losses.data<float>(),
      out.gradient.data<float>(), rows, classes);
  return out;
}

Tensor argmax(const Tensor& logits) {
  check_logits("argmax", logits);
  Tensor indices = Tensor::empty(DType::i32, {logits.dim(0)}, logits.device());
  dispatch<cpu::argmax, cuda::argmax>(logits.device(), logits.data<float>(), indices.data<std::int32_t>(),
                                      logits.dim(0), logits.dim(1));
  return indices;
}

}  // namespace hardbit::ops
