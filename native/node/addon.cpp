#include "node/addon.h"

#include "node/binding.h"
#include "node/tensor_handle.h"

namespace hardbit::node {

Addon::Addon(Napi::Env env, Napi::Object exports) {
  const Napi::Function tensor = TensorHandle::define(env);
  tensor_constructor = Napi::Persistent(tensor);
  exports.Set("Tensor", tensor);
  add_runtime(exports);
  add_tensors(exports);
  add_rows(exports);
  add_elementwise(exports);
  add_bits(exports);
  add_binary_gradients(exports);
  add_dense(exports);
  add_conv2d(exports);
  add_batch_norm(exports);
  add_folding(exports);
  add_loss(exports);
  add_optimizers(exports);
  add_attacks(exports);
  add_pooling(exports);
  add_quantizers(exports);
  add_random(exports);
  add_readers(exports);
  add_recording(exports);
  add_deployed(exports);
  add_bench(exports);
}

NODE_API_ADDON(Addon)

}  // namespace hardbit::node
