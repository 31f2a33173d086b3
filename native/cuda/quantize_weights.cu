#include "cuda/kernel.h"
#include "cuda/quantize_weights.h"

namespace hardbit::cuda {}  // namespace hardbit::cuda
