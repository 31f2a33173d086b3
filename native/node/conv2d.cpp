#include "node/conv2d.h"

#include "node/pool2d.h"
#include "ops/binary_conv2d.h"
#include "ops/reference.h"

namespace hardbit::node {

void add_conv2d(Napi::Object exports) {
  add<ops::conv2d_forward>(exports, "conv2dForward");
  add<ops::ordered_conv2d_forward>(exports, "orderedConv2dForward");
  add<ops::conv2d_backward_input>(exports, "conv2dBackwardInput");
  add<ops::conv2d_backward_weight>(exports, "conv2dBackwardWeight");
  add<ops::binary_conv2d>(exports, "binaryConv2d");
  add<ops::codes_conv2d>(exports, "codesConv2d");
  add<ops::binary_conv2d_pool>(exports, "binaryConv2dPool");
  add<ops::reference::binary_conv2d>(exports, "binaryConv2dReference");
  add<ops::reference::codes_conv2d>(exports, "codesConv2dReference");
}

}  // namespace hardbit::node
