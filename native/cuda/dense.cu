#include "cuda/dense.h"
#include "cuda/kernel.h"
#include "runtime/error.h"

namespace hardbit::cuda {

// PORTING: goes with the float products of the GPU.
void matmul(bool, bool, std::int64_t, std::int64_t, std::int64_t, const float*, const float*, const float*,
            float*) {
  throw Error("ERR_HARDBIT_UNSUPPORTED", "This operator has no CUDA half yet; use the cpu device.");
}
void matmul_bf16(bool, bool, std::int64_t, std::int64_t, std::int64_t, const float*, const float*, float*) {
  throw Error("ERR_HARDBIT_UNSUPPORTED", "This operator has no CUDA half yet; use the cpu device.");
}

}  // namespace hardbit::cuda
