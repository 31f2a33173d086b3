#include "cuda/bits.h"
#include "cuda/kernel.h"

namespace hardbit::cuda {}  // namespace hardbit::cuda
