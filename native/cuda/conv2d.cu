#include "cuda/conv2d.h"
#include "cuda/kernel.h"
#include "runtime/error.h"

namespace hardbit::cuda {

// PORTING: goes with the float products of the GPU.
void conv2d_backward_input(const ops::Conv2d&, const float*, const float*, float*) {
  throw Error("ERR_HARDBIT_UNSUPPORTED", "This operator has no CUDA half yet; use the cpu device.");
}
void conv2d_backward_weight(const ops::Conv2d&, const float*, const float*, float*) {
  throw Error("ERR_HARDBIT_UNSUPPORTED", "This operator has no CUDA half yet; use the cpu device.");
}
void convolution_backward_data_bf16(const ops::Conv2d&, const float*, const float*, float*) {
  throw Error("ERR_HARDBIT_UNSUPPORTED", "This operator has no CUDA half yet; use the cpu device.");
}
void convolution_backward_weights_bf16(const ops::Conv2d&, const float*, const float*, float*) {
  throw Error("ERR_HARDBIT_UNSUPPORTED", "This operator has no CUDA half yet; use the cpu device.");
}

}  // namespace hardbit::cuda
