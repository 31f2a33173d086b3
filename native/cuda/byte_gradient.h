#pragma once
#include <cstdint>

#include "ops/conv2d.h"

namespace hardbit::cuda {}  // namespace hardbit::cuda
