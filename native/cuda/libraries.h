#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "ops/geometry.h"

namespace hardbit::cuda {

/// How float products of the GPU compute, by the environment's HARDBIT_CUDA_MATH, read once.
enum class FloatMath {
  /// f32 throughout; the default.
  fp32,
  /// Where a library computes, it may round operands to tf32 (10 bits of mantissa) for the tensor cores; our
  /// own
  /// kernels do not.
  tf32,
  /// Operands are rounded to bf16 (7 bits), sums are f32.
  bf16,
};
/// ERR_HARDBIT_ARGUMENT for any other word.
FloatMath float_math();

/// All contact with cuBLAS (12, 13) and cuDNN (8, 9), which are opened when first needed and need not be
/// there: libcublas.so.13, .12 and libcublas.so, libcudnn.so.9, .8 and libcudnn.so, or the files that
/// HARDBIT_CUBLAS and HARDBIT_CUDNN name; HARDBIT_CUDA_LIBRARIES=off opens neither. Functions return false,
/// and have queued nothing, where the library cannot compute what is asked for: our own kernels do then. A
/// failure is remembered for describe(), and with a convolution's sizes, which are not tried again.
namespace libraries {

/// What is loaded, and why something is not, a sentence each, for people.
std::vector<std::string> describe();

/// Whether libraries are used at all; for tests, which compare with our own kernels.
void set_enabled(bool enabled);

/// matmul() in this arithmetic will probably be taken.
bool takes_matmul(std::int64_t m, std::int64_t n, std::int64_t k);
/// matmul() of dense.h without bias. a and b: float, or bits of bf16 for FloatMath::bf16.
bool matmul(FloatMath math, bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n,
            std::int64_t k, const void* a, const void* b, float* c);

enum class Convolution {
  /// x, w → y.
  forward,
  /// dy, w → dx.
  backward_input,
  /// dy, x → dw.
  backward_weight,
};

/// There is an algorithm for it. cuDNN pads alike on both sides.
bool takes(Convolution which, FloatMath math, const ops::Conv2d& conv);
/// `math`: fp32 or tf32. `first` and `second` as above.
bool convolve(Convolution which, FloatMath math, const ops::Conv2d& conv, const float* first,
              const float* second, float* result);

}  // namespace libraries
}  // namespace hardbit::cuda
