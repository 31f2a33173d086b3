#include "cuda/kernel.h"
#include "cuda/pool2d.h"

namespace hardbit::cuda {}  // namespace hardbit::cuda
