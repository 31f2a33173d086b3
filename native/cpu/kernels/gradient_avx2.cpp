#include "cpu/kernels/gradient_loops.h"

namespace hardbit::cpu {

constinit const GradientKernels gradient_avx2 = gradient_row<PlainSource>("gradient_avx2", Isa::avx2);

}  // namespace hardbit::cpu
