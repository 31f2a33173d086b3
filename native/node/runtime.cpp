#include <algorithm>

#include "cpu/byte_weights_cache.h"
#include "cpu/float_gradient.h"
#include "cpu/onednn.h"
#include "cpu/product/choice.h"
#include "cpu/product/plan_cache.h"
#include "node/binding.h"
#include "runtime/allocator.h"
#include "runtime/cpu_features.h"
#include "runtime/cuda_build.h"
#include "runtime/threads.h"
#if HARDBIT_CUDA
#include "cuda/libraries.h"
#include "cuda/runtime.h"
#endif

namespace hardbit::node {
namespace {

struct BuildAndMachine {};

BuildAndMachine info() { return {}; }

void drop_caches() {
  cpu::forget_plans();
  cpu::forget_input_weights();
  empty_cache();
#if HARDBIT_CUDA
  cuda::empty_cache();
#endif
}

/// Waits for what is queued on a device.
void synchronize(Device device) {
  if (device == Device::cpu) return;
#if HARDBIT_CUDA
  cuda::synchronize();
#else
  throw Error("ERR_HARDBIT_NO_CUDA", "This build of hardbit has no CUDA support; use the cpu device.");
#endif
}

/// What cuBLAS and cuDNN are here, a sentence each; opens them. None without a GPU.
std::vector<std::string> cuda_libraries() {
#if HARDBIT_CUDA
  std::string reason;
  if (!cuda::driver::devices(reason).empty()) return cuda::libraries::describe();
#endif
  return {};
}

constexpr const char* compiler =
#if defined(__clang__)
    "Clang " __clang_version__;
#else
    "GCC " __VERSION__;
#endif

}  // namespace

template <>
struct ToJs<std::vector<std::string>> {
  static Napi::Value wrap(Napi::Env env, const std::vector<std::string>& values) {
    const auto array = Napi::Array::New(env);
    for (const std::string& value : values) array.Set(array.Length(), value);
    return array;
  }
};

template <>
struct ToJs<MemoryInfo> {
  static Napi::Value wrap(Napi::Env env, MemoryInfo value) {
    const auto object = Napi::Object::New(env);
    object.Set("liveTensors", to_js(env, live_storages()));
    object.Set("liveBytes", to_js(env, static_cast<std::int64_t>(value.live_bytes)));
    object.Set("cachedBytes", to_js(env, static_cast<std::int64_t>(value.cached_bytes)));
    object.Set("peakBytes", to_js(env, static_cast<std::int64_t>(value.peak_bytes)));
#if HARDBIT_CUDA
    const MemoryInfo cuda = cuda::memory_info();
#else
    const MemoryInfo cuda{};
#endif
    object.Set("cudaLiveBytes", to_js(env, static_cast<std::int64_t>(cuda.live_bytes)));
    object.Set("cudaCachedBytes", to_js(env, static_cast<std::int64_t>(cuda.cached_bytes)));
    object.Set("cudaPeakBytes", to_js(env, static_cast<std::int64_t>(cuda.peak_bytes)));
    return object;
  }
};

template <>
struct ToJs<BuildAndMachine> {
  static Napi::Value wrap(Napi::Env env, BuildAndMachine) {
    const std::span<const Isa> available = available_isas();
    const auto isas = Napi::Array::New(env);
    for (const Isa isa : available) isas.Set(isas.Length(), name(isa));

    const auto kernels = Napi::Array::New(env);
    const cpu::ProductRows selected = cpu::selected_product_rows();
    for (const cpu::ProductKernel& row : cpu::product_kernels()) {
      const auto kernel = Napi::Object::New(env);
      const bool bits = row.operand == cpu::Operand::bits;
      kernel.Set("name", row.name);
      kernel.Set("operand", bits ? "bits" : "bytes");
      kernel.Set("isa", name(row.isa));
      kernel.Set("mr", row.mr);
      kernel.Set("nr", row.nr);
      kernel.Set("available", std::ranges::find(available, row.isa) != available.end());
      kernel.Set("selected", &row == (bits ? &selected.bits : &selected.bytes));
      kernels.Set(kernels.Length(), kernel);
    }

    const auto choices = Napi::Array::New(env);
    for (const cpu::ChoiceExample& example : cpu::choice_examples(selected)) {
      const bool bits = example.operand == cpu::Operand::bits;
      const auto choice = Napi::Object::New(env);
      choice.Set("layer", example.layer);
      choice.Set("bits", example.bits);
      choice.Set("kernel", (bits ? selected.bits : selected.bytes).name);
      choices.Set(choices.Length(), choice);
    }

    const auto gradients = Napi::Array::New(env);
    for (const cpu::FloatGradientExample& example : cpu::float_gradient_examples()) {
      const auto gradient = Napi::Object::New(env);
      gradient.Set("layer", example.layer);
      gradient.Set("kernel", example.kernel != nullptr ? Napi::Value(Napi::String::New(env, example.kernel))
                                                       : env.Null());
      gradients.Set(gradients.Length(), gradient);
    }

    const auto cuda = Napi::Object::New(env);
    const auto devices = Napi::Array::New(env);
    cuda.Set("built", cuda_built);
    cuda.Set("devices", devices);
#if HARDBIT_CUDA
    std::string reason;
    for (const cuda::driver::DeviceInfo& device : cuda::driver::devices(reason)) {
      const auto entry = Napi::Object::New(env);
      entry.Set("name", device.name);
      entry.Set("computeCapability", std::to_string(device.major) + "." + std::to_string(device.minor));
      entry.Set("multiprocessors", device.multiprocessors);
      entry.Set("memoryBytes", static_cast<double>(device.memory));
      devices.Set(devices.Length(), entry);
    }
    cuda.Set("reason", reason);
#else
    cuda.Set("reason", "This build of hardbit has no CUDA support.");
#endif

    const auto object = Napi::Object::New(env);
    object.Set("version", HARDBIT_VERSION);
    object.Set("compiler", compiler);
    object.Set("buildType", HARDBIT_BUILD_TYPE);
    object.Set("oneDnn", cpu::onednn_version());
    object.Set("isa", name(selected_isa()));
    object.Set("isasAvailable", isas);
    object.Set("cpu", cpu_name());
    object.Set("threads", threads());
    object.Set("kernels", kernels);
    object.Set("kernelChoices", choices);
    object.Set("floatGradients", gradients);
    object.Set("cuda", cuda);
    return object;
  }
};

void add_runtime(Napi::Object exports) {
  add<info>(exports, "info");
  add<memory_info>(exports, "memory");
  add<drop_caches>(exports, "emptyCache");
  add<set_threads>(exports, "setThreads");
  add<synchronize>(exports, "synchronize");
  add<cuda_libraries>(exports, "cudaLibraries");
}

}  // namespace hardbit::node
