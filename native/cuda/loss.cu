#include "cuda/kernel.h"
#include "cuda/loss.h"

namespace hardbit::cuda {}  // namespace hardbit::cuda
