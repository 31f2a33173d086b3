#include "node/pool2d.h"

namespace hardbit::node {

void add_pooling(Napi::Object exports) {
  add<ops::max_pool2d>(exports, "maxPool2d");
  add<ops::max_pool2d_backward>(exports, "maxPool2dBackward");
  add<ops::pool_signs>(exports, "poolSigns");
  add<ops::avg_pool2d>(exports, "avgPool2d");
  add<ops::avg_pool2d_backward>(exports, "avgPool2dBackward");
}

}  // namespace hardbit::node
