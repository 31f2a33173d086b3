#include "cuda/libraries.h"

// There is nothing to load for a GPU that is emulated.

namespace hardbit::cuda::libraries {

std::vector<std::string> describe() { return {"cuBLAS and cuDNN: not loaded, the GPU is emulated."}; }
void set_enabled(bool) {}
bool takes_matmul(std::int64_t, std::int64_t, std::int64_t) { return false; }
bool matmul(FloatMath, bool, bool, std::int64_t, std::int64_t, std::int64_t, const void*, const void*,
            float*) {
  return false;
}
bool takes(Convolution, FloatMath, const ops::Conv2d&) { return false; }
bool convolve(Convolution, FloatMath, const ops::Conv2d&, const float*, const float*, float*) {
  return false;
}

}  // namespace hardbit::cuda::libraries
