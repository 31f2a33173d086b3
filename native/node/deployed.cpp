#include <memory>
#include <string>

#include "node/binding.h"
#include "packed/reader.h"
#include "runtime/cuda_build.h"
#if HARDBIT_CUDA
#include "cuda/deployed_network.h"
#endif

namespace hardbit::node {

#if HARDBIT_CUDA

namespace {

using Shared = std::shared_ptr<const cuda::DeployedNetwork>;

Shared load_deployed(const TypedData& file, const std::string& what) {
  if (file.dtype != DType::u8) throw Error("ERR_HARDBIT_DTYPE", what + " must be given as a Uint8Array.");
  const auto* const bytes = reinterpret_cast<const std::uint8_t*>(file.bytes.data());
  return std::make_shared<const cuda::DeployedNetwork>(
      packed::read_network({bytes, file.bytes.size()}, what));
}

}  // namespace

/// { inputShape, classes, byteLength, logits(images), dispose() }
template <>
struct ToJs<Shared> {
  static Napi::Value wrap(Napi::Env env, Shared network) {
    const auto object = Napi::Object::New(env);
    const packed::Image& image = network->image();
    const auto shape = Napi::Array::New(env);
    for (const std::int64_t size : {image.height, image.width, image.channels}) {
      shape.Set(shape.Length(), to_js(env, size));
    }
    object.Set("inputShape", shape);
    object.Set("classes", to_js(env, network->classes()));
    object.Set("byteLength", to_js(env, static_cast<std::int64_t>(network->bytes())));
    // Both functions share what dispose() empties.
    const auto held = std::make_shared<Shared>(std::move(network));
    object.Set("logits", Napi::Function::New(env, [held](const Napi::CallbackInfo& info) {
                 return guarded(info.Env(), [&] {
                   if (!*held) throw Error("ERR_HARDBIT_DISPOSED", "logits: the network is disposed.");
                   return to_js(info.Env(),
                                (*held)->logits(FromJs<Tensor>::read(Arguments(info, "logits"), 0)));
                 });
               }));
    object.Set("dispose", Napi::Function::New(env, [held](const Napi::CallbackInfo&) { held->reset(); }));
    return object;
  }
};

#else

namespace {

void load_deployed(const TypedData&, const std::string&) {
  throw Error("ERR_HARDBIT_NO_CUDA",
              "This build of hardbit has no CUDA support; use hardbit/packed on the cpu.");
}

}  // namespace

#endif

void add_deployed(Napi::Object exports) { add<load_deployed>(exports, "loadDeployed"); }

}  // namespace hardbit::node
