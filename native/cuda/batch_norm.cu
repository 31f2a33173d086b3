#include "cuda/batch_norm.h"
#include "cuda/kernel.h"

namespace hardbit::cuda {}  // namespace hardbit::cuda
