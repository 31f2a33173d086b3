#include "cuda/kernel.h"
#include "cuda/rows.h"

namespace hardbit::cuda {}  // namespace hardbit::cuda
