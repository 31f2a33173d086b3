#include "cpu/kernels/gradient_loops.h"

namespace hardbit::cpu {

constinit const GradientKernels gradient_generic =
    gradient_row<PlainSource>("gradient_generic", Isa::generic);

}  // namespace hardbit::cpu
