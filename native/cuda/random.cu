#include "cuda/kernel.h"
#include "cuda/random.h"

namespace hardbit::cuda {}  // namespace hardbit::cuda
