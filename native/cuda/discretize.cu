#include "cuda/discretize.h"
#include "cuda/kernel.h"

namespace hardbit::cuda {}  // namespace hardbit::cuda
