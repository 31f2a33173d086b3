#include "cuda/attack.h"
#include "cuda/kernel.h"

namespace hardbit::cuda {}  // namespace hardbit::cuda
