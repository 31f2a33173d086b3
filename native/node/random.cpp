#include "ops/random.h"

#include "node/binding.h"

namespace hardbit::node {

void add_random(Napi::Object exports) {
  add<ops::random_integers>(exports, "randomIntegers");
  add<ops::random_uniform>(exports, "randomUniform");
  add<ops::permutation>(exports, "permutation");
}

}  // namespace hardbit::node
