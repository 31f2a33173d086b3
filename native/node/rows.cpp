#include "ops/rows.h"

#include "node/binding.h"

namespace hardbit::node {

void add_rows(Napi::Object exports) {
  add<ops::gather>(exports, "gather");
  add_async<ops::gather_images>(exports, "gatherImagesAsync");
  add<ops::concat>(exports, "concat");
  add<ops::select_rows>(exports, "selectRows");
  add<ops::zero_rows>(exports, "zeroRows");
}

}  // namespace hardbit::node
