#include "cuda/kernel.h"
#include "cuda/optimizer.h"

namespace hardbit::cuda {}  // namespace hardbit::cuda
