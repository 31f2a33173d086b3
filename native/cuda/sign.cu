#include "cuda/kernel.h"
#include "cuda/sign.h"

namespace hardbit::cuda {}  // namespace hardbit::cuda
