#include "node/packed.h"

#include <algorithm>
#include <exception>
#include <string>
#include <utility>

#include "packed/reader.h"
#include "runtime/cpu_features.h"
#include "runtime/error.h"

namespace hardbit::node {
namespace {

using packed::Engine;
using packed::Layer;
using packed::WorkerPool;
using Shared = std::shared_ptr<const Engine>;

/// Requests that are kept for the next ones, and the images of one that are.
constexpr std::size_t most_idle = 64;
constexpr std::size_t most_idle_bytes = 4 << 20;

Napi::Error coded(Napi::Env env, const char* code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", code);
  return error;
}

/// Runs `body`; native errors leave as JavaScript errors with their code.
template <class Body>
auto guarded(Napi::Env env, const Body& body) -> decltype(body()) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (const Error& error) {
    throw coded(env, error.code(), error.what());
  } catch (const std::bad_alloc&) {
    throw coded(env, "ERR_HARDBIT_MEMORY", "There is not enough memory for this; use smaller batches.");
  } catch (const std::exception& error) {
    throw coded(env, "ERR_HARDBIT_UNSUPPORTED", error.what());
  }
}

template <class Array>
Array typed_array(const Napi::CallbackInfo& info, std::size_t i, napi_typedarray_type type, const char* what,
                  const char* expected) {
  const Napi::Value value = info[i];
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
    throw Error("ERR_HARDBIT_DTYPE", std::string(what) + " must be " + expected + ".");
  }
  return value.As<Array>();
}

Napi::Uint8Array bytes_of(const Napi::CallbackInfo& info, std::size_t i, const char* what) {
  return typed_array<Napi::Uint8Array>(info, i, napi_uint8_array, what, "a Uint8Array");
}

void require_length(const char* what, std::size_t length, std::int64_t expected) {
  if (static_cast<std::int64_t>(length) != expected) {
    throw Error("ERR_HARDBIT_SHAPE", std::string(what) + " have " + std::to_string(length) +
                                         " elements, expected " + std::to_string(expected) + ".");
  }
}

std::int64_t whole(const Napi::CallbackInfo& info, std::size_t i, const char* what) {
  const Napi::Value value = info[i];
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0 && number <= 9007199254740991.0) ||
      number != static_cast<double>(static_cast<std::int64_t>(number))) {
    throw Error("ERR_HARDBIT_ARGUMENT", std::string(what) + " must be a whole number of 0 or more.");
  }
  return static_cast<std::int64_t>(number);
}

/// Copies results to JavaScript's array, unless that has another length by now.
template <class T>
bool write(napi_env env, napi_value array, const std::vector<T>& values) {
  napi_typedarray_type type;
  std::size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, array, &type, &length, &data, nullptr, nullptr) != napi_ok ||
      length != values.size()) {
    return false;
  }
  std::copy(values.begin(), values.end(), static_cast<T*>(data));
  return true;
}

/// What both predictions take: images, and arrays for their results.
struct Batch {
  std::int64_t count;
  Napi::Uint8Array images;
  Napi::Float32Array logits;
  Napi::Int32Array classes;
};

Batch batch_of(const Napi::CallbackInfo& info, const Engine& engine) {
  Batch batch{0, bytes_of(info, 0, "The images"),
              typed_array<Napi::Float32Array>(info, 1, napi_float32_array, "The logits", "a Float32Array"),
              typed_array<Napi::Int32Array>(info, 2, napi_int32_array, "The classes", "an Int32Array")};
  const auto values = static_cast<std::int64_t>(batch.images.ElementLength());
  if (values % engine.image_values() != 0) {
    throw Error("ERR_HARDBIT_SHAPE", "The images have " + std::to_string(values) +
                                         " bytes, expected a multiple of " +
                                         std::to_string(engine.image_values()) + ".");
  }
  batch.count = values / engine.image_values();
  require_length("The logits", batch.logits.ElementLength(), batch.count * engine.classes());
  require_length("The classes", batch.classes.ElementLength(), batch.count);
  return batch;
}

// -- what a network is, for JavaScript

std::string hexadecimal(const packed::Digest& digest) {
  constexpr const char* digits = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : digest) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

template <class Values>
Napi::Array numbers(Napi::Env env, const Values& values) {
  const auto array = Napi::Array::New(env);
  for (const auto value : values) array.Set(array.Length(), static_cast<double>(value));
  return array;
}

Napi::Array shape(Napi::Env env, const packed::Image& image) {
  return numbers(env, std::initializer_list<std::int64_t>{image.height, image.width, image.channels});
}

/// Taps inside of the image, over all windows of an axis.
std::int64_t valid_taps(const Layer& layer, std::size_t axis) {
  const std::int64_t size = axis == 0 ? layer.in.height : layer.in.width;
  const std::int64_t windows = axis == 0 ? layer.convolved.height : layer.convolved.width;
  std::int64_t taps = 0;
  for (std::int64_t i = 0; i < windows; ++i) {
    for (std::int64_t a = 0; a < layer.window.kernel[axis]; ++a) {
      const std::int64_t at =
          i * layer.window.stride[axis] + a * layer.window.dilation[axis] - layer.window.padding[2 * axis];
      taps += static_cast<std::int64_t>(at >= 0 && at < size);
    }
  }
  return taps;
}

Napi::Object described(Napi::Env env, const Layer& layer) {
  const auto object = Napi::Object::New(env);
  object.Set("name", layer.name);
  object.Set("product", layer.product == Layer::Product::binary ? "binary" : "float");
  object.Set("result", layer.result == Layer::Result::signs ? "signs" : "reals");
  object.Set("input", layer.input == Layer::Input::codes   ? "codes"
                      : layer.input == Layer::Input::signs ? "signs"
                                                           : "reals");
  object.Set("in", shape(env, layer.in));
  object.Set("convolved", shape(env, layer.convolved));
  object.Set("out", shape(env, layer.out));
  object.Set("kernel", numbers(env, layer.window.kernel));
  object.Set("stride", numbers(env, layer.window.stride));
  object.Set("dilation", numbers(env, layer.window.dilation));
  object.Set("padding", numbers(env, layer.window.padding));
  object.Set("paddingValue", layer.pads_with_one ? "one" : "zero");
  object.Set("groups", static_cast<double>(layer.groups));
  const auto pool = Napi::Object::New(env);
  pool.Set("kernel", numbers(env, layer.pool.kernel));
  pool.Set("stride", numbers(env, layer.pool.stride));
  pool.Set("padding", numbers(env, layer.pool.padding));
  object.Set("pool", layer.pools() ? Napi::Value(pool) : env.Null());
  object.Set("batchNorm", layer.batch_norm);
  object.Set("relu", layer.relu);
  object.Set("multiplyAccumulates",
             static_cast<double>(valid_taps(layer, 0)) * static_cast<double>(valid_taps(layer, 1)) *
                 static_cast<double>(layer.in.channels / layer.groups * layer.convolved.channels));
  return object;
}

/// A loaded network in JavaScript's hands.
class PackedHandle : public Napi::ObjectWrap<PackedHandle> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "PackedNetwork",
        {InstanceMethod<&PackedHandle::info>("info"), InstanceMethod<&PackedHandle::predict>("predict"),
         InstanceMethod<&PackedHandle::cancel>("cancel"),
         InstanceMethod<&PackedHandle::predict_sync>("predictSync"),
         InstanceMethod<&PackedHandle::integers>("integers"), InstanceMethod<&PackedHandle::reals>("reals"),
         InstanceMethod<&PackedHandle::dispose>("dispose")});
  }

  explicit PackedHandle(const Napi::CallbackInfo& info)
      : ObjectWrap(info), engine_(std::move(PackedAddon::of(info.Env()).pending)) {
    if (engine_ == nullptr) {
      throw coded(info.Env(), "ERR_HARDBIT_ARGUMENT", "A packed network comes from load() alone.");
    }
    adjust_external_memory(static_cast<std::int64_t>(engine_->bytes()));
  }
  ~PackedHandle() override { release(); }

 private:
  const Shared& engine() const {
    if (engine_ == nullptr) {
      throw Error("ERR_HARDBIT_DISPOSED", "This packed network was disposed of; load it again.");
    }
    return engine_;
  }

  Napi::Value info(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&]() -> Napi::Value {
      const packed::Network& network = engine()->network();
      const auto object = Napi::Object::New(env);
      object.Set("hash", hexadecimal(network.hash));
      object.Set("model", network.model);
      object.Set("recipe", network.recipe);
      object.Set("image", shape(env, network.image));
      object.Set("inputBits", network.bits);
      object.Set("classes", static_cast<double>(network.classes));
      object.Set("bytes", static_cast<double>(engine_->bytes()));
      object.Set("chunk", static_cast<double>(engine_->chunk()));
      const auto layers = Napi::Array::New(env);
      for (const Layer& layer : network.layers) layers.Set(layers.Length(), described(env, layer));
      object.Set("layers", layers);
      return object;
    });
  }

  Napi::Value predict(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const Batch batch = batch_of(info, *engine());
      if (!info[3].IsFunction()) {
        throw Error("ERR_HARDBIT_ARGUMENT", "predict() needs a function to call when it is done.");
      }
      const std::int64_t ticket = PackedAddon::of(info.Env())
                                      .submit(engine_, batch.count, batch.images, batch.logits, batch.classes,
                                              info[3].As<Napi::Function>());
      return Napi::Number::New(info.Env(), static_cast<double>(ticket));
    });
  }

  Napi::Value cancel(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      return Napi::Boolean::New(info.Env(), PackedAddon::of(info.Env()).cancel(whole(info, 0, "The ticket")));
    });
  }

  Napi::Value predict_sync(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      Batch batch = batch_of(info, *engine());
      if (batch.count > 0) {
        packed::predict(engine_, WorkerPool::process(), batch.images.Data(), batch.count, batch.logits.Data(),
                        batch.classes.Data());
      }
      return info.Env().Undefined();
    });
  }

  Napi::Value integers(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const std::vector<std::int32_t> sums = engine()->integers(one_image(info), layer_of(info));
      auto array = Napi::Int32Array::New(info.Env(), sums.size());
      std::ranges::copy(sums, array.Data());
      return array;
    });
  }

  Napi::Value reals(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const std::vector<float> sums = engine()->reals(one_image(info), layer_of(info));
      auto array = Napi::Float32Array::New(info.Env(), sums.size());
      std::ranges::copy(sums, array.Data());
      return array;
    });
  }

  Napi::Value dispose(const Napi::CallbackInfo& info) {
    release();
    return info.Env().Undefined();
  }

  void release() {
    if (engine_ == nullptr) return;
    adjust_external_memory(-static_cast<std::int64_t>(engine_->bytes()));
    engine_.reset();
  }
  /// So that V8 collects handles that nobody disposed of.
  void adjust_external_memory(std::int64_t change) const {
    std::int64_t total;
    napi_adjust_external_memory(Env(), change, &total);
  }

  const std::uint8_t* one_image(const Napi::CallbackInfo& info) const {
    const Napi::Uint8Array image = bytes_of(info, 0, "The image");
    require_length("The image's pixels", image.ElementLength(), engine_->image_values());
    return image.Data();
  }
  static std::size_t layer_of(const Napi::CallbackInfo& info) {
    return static_cast<std::size_t>(whole(info, 1, "The layer"));
  }

  Shared engine_;
};

}  // namespace

void PackedRequest::finished(Outcome outcome) noexcept {
  outcome_ = outcome;
  addon_.deliver(*this);
}

PackedAddon::PackedAddon(Napi::Env env, Napi::Object exports) : env_(env) {
  constructor = Napi::Persistent(PackedHandle::define(env));
  DefineAddon(exports,
              {InstanceMethod<&PackedAddon::load>("load"), InstanceMethod<&PackedAddon::info>("info"),
               InstanceMethod<&PackedAddon::statistics>("statistics")});
  const auto on_wake = [](napi_env env, napi_value, void* context, void*) {
    if (env != nullptr) static_cast<PackedAddon*>(context)->drain(env);
  };
  const napi_status status =
      napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "hardbit prediction"), 0,
                                      1, nullptr, nullptr, this, on_wake, &wake_);
  NAPI_THROW_IF_FAILED_VOID(env, status);
  // It holds the event loop while predictions are under way, not otherwise.
  napi_unref_threadsafe_function(env, wake_);
  // Behind the one above, so that it runs before Node takes that apart.
  napi_add_env_cleanup_hook(
      env, [](void* addon) { static_cast<PackedAddon*>(addon)->close(); }, this);
}

std::int64_t PackedAddon::submit(const Shared& engine, std::int64_t count, const Napi::Uint8Array& images,
                                 const Napi::Float32Array& logits, const Napi::Int32Array& classes,
                                 const Napi::Function& done) {
  if (idle_.empty()) idle_.push_back(std::make_unique<PackedRequest>(*this));
  live_.reserve(live_.size() + 1);
  PackedRequest& request = *idle_.back();
  WorkerPool& pool = WorkerPool::process();
  request.images_.assign(images.Data(), images.Data() + images.ElementLength());
  request.logits_.resize(logits.ElementLength());
  request.classes_.resize(classes.ElementLength());
  request.logits_array_ = Napi::Persistent(logits);
  request.classes_array_ = Napi::Persistent(classes);
  request.done_ = Napi::Persistent(done);
  request.prepare(engine, request.images_.data(), count, request.logits_.data(), request.classes_.data(),
                  pool.threads());
  request.ticket_ = ++tickets_;
  if (live_.empty()) napi_ref_threadsafe_function(env_, wake_);
  live_.push_back(std::move(idle_.back()));
  idle_.pop_back();
  {
    const std::lock_guard lock(mutex_);
    ++outstanding_;
  }
  try {
    pool.submit(request, request.parts());
  } catch (...) {
    {
      const std::lock_guard lock(mutex_);
      --outstanding_;
    }
    recycle(request);
    throw;
  }
  return request.ticket_;
}

bool PackedAddon::cancel(std::int64_t ticket) {
  for (const auto& request : live_) {
    if (request->ticket_ == ticket) return WorkerPool::process().cancel(*request);
  }
  return false;
}

void PackedAddon::deliver(PackedRequest& request) noexcept {
  // All under the lock: close() may end this environment as soon as nothing is outstanding.
  const std::lock_guard lock(mutex_);
  request.next_ = nullptr;
  const bool wakes = finished_ == nullptr;
  (wakes ? finished_ : last_finished_->next_) = &request;
  last_finished_ = &request;
  --outstanding_;
  if (closing_) {
    ended_.notify_all();
  } else if (wakes) {
    napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
  }
}

void PackedAddon::drain(Napi::Env env) {
  PackedRequest* request;
  {
    const std::lock_guard lock(mutex_);
    request = std::exchange(finished_, nullptr);
  }
  while (request != nullptr) {
    PackedRequest& each = *request;
    request = each.next_;
    settle(env, each);
  }
}

void PackedAddon::settle(Napi::Env env, PackedRequest& request) {
  // Plain Node-API: where a worker thread is being ended, every call into JavaScript fails, and the C++
  // wrapper would fail at turning that into an exception.
  const Napi::HandleScope scope(env);
  const napi_value done = request.done_.Value();
  const char* code = nullptr;
  const char* message = nullptr;
  if (request.outcome_ == packed::Task::Outcome::cancelled) {
    code = "ERR_HARDBIT_ABORTED";
    message = "The prediction was aborted.";
  } else if (request.starved()) {
    code = "ERR_HARDBIT_MEMORY";
    message = "There is not enough memory for this network's activations.";
  } else if (!write(env, request.logits_array_.Value(), request.logits_) ||
             !write(env, request.classes_array_.Value(), request.classes_)) {
    code = "ERR_HARDBIT_ARGUMENT";
    message = "The arrays for the results were transferred or resized during the prediction.";
  }
  napi_value failure = env.Null();
  bool sound = true;
  if (code != nullptr) {
    napi_value code_text;
    napi_value message_text;
    sound = napi_create_string_utf8(env, code, NAPI_AUTO_LENGTH, &code_text) == napi_ok &&
            napi_create_string_utf8(env, message, NAPI_AUTO_LENGTH, &message_text) == napi_ok &&
            napi_create_error(env, code_text, message_text, &failure) == napi_ok;
  }
  recycle(request);  // before the call, which may ask for the next prediction
  if (!sound || napi_call_function(env, env.Undefined(), done, 1, &failure, nullptr) == napi_ok) return;
  napi_value thrown;
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending &&
      napi_get_and_clear_last_exception(env, &thrown) == napi_ok) {
    napi_fatal_exception(env, thrown);
  }
}

void PackedAddon::recycle(PackedRequest& request) {
  request.release();
  request.logits_array_.Reset();
  request.classes_array_.Reset();
  request.done_.Reset();
  const auto at = std::ranges::find(live_, &request, &std::unique_ptr<PackedRequest>::get);
  std::unique_ptr<PackedRequest> owned = std::move(*at);
  *at = std::move(live_.back());
  live_.pop_back();
  if (live_.empty()) napi_unref_threadsafe_function(env_, wake_);
  if (idle_.size() < most_idle && owned->images_.capacity() <= most_idle_bytes) {
    idle_.push_back(std::move(owned));
  }
}

void PackedAddon::close() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(closing_, true)) return;
  }
  for (const auto& request : live_) WorkerPool::process().cancel(*request);
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [this] { return outstanding_ == 0; });
  finished_ = nullptr;
  lock.unlock();
  live_.clear();
  idle_.clear();
}

Napi::Value PackedAddon::load(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto read = [&] {
      if (info[0].IsString()) return packed::read_network_file(info[0].As<Napi::String>().Utf8Value());
      const auto file = typed_array<Napi::Uint8Array>(info, 0, napi_uint8_array, "The network",
                                                      "a path or a Uint8Array of a .hbit file");
      return packed::read_network({file.Data(), file.ElementLength()}, "The given array");
    };
    pending = packed::shared_engine(read());
    WorkerPool::process().reserve(pending->arena_bytes());
    return constructor.New({});
  });
}

Napi::Value PackedAddon::info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const auto isas = Napi::Array::New(env);
    for (const Isa isa : available_isas()) isas.Set(isas.Length(), name(isa));
    const auto object = Napi::Object::New(env);
    object.Set("version", HARDBIT_VERSION);
    object.Set("buildType", HARDBIT_BUILD_TYPE);
    object.Set("isa", name(selected_isa()));
    object.Set("isasAvailable", isas);
    object.Set("cpu", cpu_name());
    object.Set("threads", WorkerPool::process().threads());
    return object;
  });
}

Napi::Value PackedAddon::statistics(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const WorkerPool::Statistics statistics = WorkerPool::process().statistics();
    const auto object = Napi::Object::New(env);
    object.Set("threads", statistics.threads);
    object.Set("queued", static_cast<double>(statistics.queued));
    object.Set("running", static_cast<double>(statistics.running));
    object.Set("done", static_cast<double>(statistics.done));
    object.Set("cancelled", static_cast<double>(statistics.cancelled));
    object.Set("arenaBytes", static_cast<double>(statistics.arena_bytes));
    return object;
  });
}

NODE_API_ADDON(PackedAddon)

}  // namespace hardbit::node
