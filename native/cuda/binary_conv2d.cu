#include "cuda/binary_conv2d.h"
#include "cuda/kernel.h"

namespace hardbit::cuda {}  // namespace hardbit::cuda
