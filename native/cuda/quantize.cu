#include "cuda/kernel.h"
#include "cuda/quantize.h"

namespace hardbit::cuda {}  // namespace hardbit::cuda
