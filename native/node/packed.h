#pragma once
#include <napi.h>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "packed/engine.h"
#include "packed/prediction.h"

// The addon of deployed networks, hardbit_packed.node, as JavaScript sees it:
//
//   load(source: Uint8Array | string): PackedNetwork      a file's bytes, or its path
//   info(): { version, buildType, isa, isasAvailable, cpu, threads }
//   statistics(): { threads, queued, running, done, cancelled, arenaBytes }       of the process's pool
//
//   PackedNetwork
//     info(): { hash, model, recipe, image: [h, w, c], inputBits, classes, bytes, chunk, layers: [{ name,
//     product,
//       result, input, in, convolved, out, kernel, stride, dilation, padding, groups, pool, batchNorm, relu,
//       multiplyAccumulates }] }
//     predict(images: Uint8Array, logits: Float32Array, classes: Int32Array, done: (error: Error | null) =>
//     void): number
//       Copies the images and returns a ticket; `done` is called once, later, with logits and classes filled
//       or with an error.
//     cancel(ticket: number): boolean       true: nothing more is begun for it, and `done` gets
//     ERR_HARDBIT_ABORTED predictSync(images, logits, classes): void integers(image: Uint8Array, layer:
//     number): Int32Array       the layer's sums, see Engine reals(image: Uint8Array, layer: number):
//     Float32Array dispose(): void

namespace hardbit::node {

class PackedAddon;

/// A prediction that JavaScript waits for. The images are copied in and the results copied out on the
/// JavaScript thread, so that nothing it does with its arrays meanwhile matters.
class PackedRequest final : public packed::Prediction {
 public:
  explicit PackedRequest(PackedAddon& addon) : addon_(addon) {}
  void finished(Outcome outcome) noexcept override;

 private:
  friend class PackedAddon;
  PackedAddon& addon_;
  PackedRequest* next_ = nullptr;
  std::int64_t ticket_ = 0;
  Outcome outcome_ = Outcome::done;
  std::vector<std::uint8_t> images_;
  std::vector<float> logits_;
  std::vector<std::int32_t> classes_;
  Napi::Reference<Napi::Float32Array> logits_array_;
  Napi::Reference<Napi::Int32Array> classes_array_;
  Napi::FunctionReference done_;
};

/// State of one environment: the main thread and every worker thread have their own; the pool and the weights
/// belong to the process.
class PackedAddon : public Napi::Addon<PackedAddon> {
 public:
  PackedAddon(Napi::Env env, Napi::Object exports);
  PackedAddon(const PackedAddon&) = delete;
  PackedAddon& operator=(const PackedAddon&) = delete;

  static PackedAddon& of(Napi::Env env) { return *env.GetInstanceData<PackedAddon>(); }

  std::int64_t submit(const std::shared_ptr<const packed::Engine>& engine, std::int64_t count,
                      const Napi::Uint8Array& images, const Napi::Float32Array& logits,
                      const Napi::Int32Array& classes, const Napi::Function& done);
  bool cancel(std::int64_t ticket);

  Napi::FunctionReference constructor;
  /// The engine that the handle being constructed takes over; null where JavaScript calls the constructor
  /// itself.
  std::shared_ptr<const packed::Engine> pending;

 private:
  friend class PackedRequest;
  void deliver(PackedRequest& request) noexcept;
  /// Calls back for all requests that are finished; on the JavaScript thread.
  void drain(Napi::Env env);
  void settle(Napi::Env env, PackedRequest& request);
  void recycle(PackedRequest& request);
  /// Ends all requests: nothing of this environment is touched by a worker afterwards.
  void close();

  Napi::Value load(const Napi::CallbackInfo& info);
  Napi::Value info(const Napi::CallbackInfo& info);
  Napi::Value statistics(const Napi::CallbackInfo& info);

  Napi::Env env_;
  napi_threadsafe_function wake_ = nullptr;
  std::int64_t tickets_ = 0;
  /// Begun and not yet settled; the others wait to be used again.
  std::vector<std::unique_ptr<PackedRequest>> live_;
  std::vector<std::unique_ptr<PackedRequest>> idle_;

  std::mutex mutex_;
  std::condition_variable ended_;
  bool closing_ = false;
  /// Live requests that the pool has not finished.
  std::int64_t outstanding_ = 0;
  PackedRequest* finished_ = nullptr;
  PackedRequest* last_finished_ = nullptr;
};

}  // namespace hardbit::node
