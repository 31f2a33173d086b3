#include "ops/elementwise.h"

#include "node/binding.h"

namespace hardbit::node {

void add_elementwise(Napi::Object exports) {
  add<ops::u8_to_float>(exports, "u8ToFloat");
  add<ops::int_to_float>(exports, "intToFloat");
  add<ops::axpy>(exports, "axpy");
  add<ops::relu>(exports, "relu");
  add<ops::relu_backward>(exports, "reluBackward");
}

}  // namespace hardbit::node
