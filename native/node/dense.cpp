#include "ops/dense.h"

#include "node/binding.h"

namespace hardbit::node {

void add_dense(Napi::Object exports) {
  add<ops::dense_forward>(exports, "denseForward");
  add<ops::ordered_dense_forward>(exports, "orderedDenseForward");
  add<ops::dense_backward_input>(exports, "denseBackwardInput");
  add<ops::dense_backward_weight>(exports, "denseBackwardWeight");
  add<ops::sum_rows>(exports, "sumRows");
}

}  // namespace hardbit::node
