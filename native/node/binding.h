#pragma once
#include <napi.h>

#include <array>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "runtime/error.h"
#include "runtime/tensor.h"

// A binding is one line, `add<ops::relu>(exports, "relu")`: the arguments are unpacked and checked, and the
// result wrapped, as the types of the native function say. FromJs and ToJs hold one specialization a type.

namespace hardbit::node {

/// The arguments of one call; errors carry the function's name.
class Arguments {
 public:
  Arguments(const Napi::CallbackInfo& info, const char* function) : info_(info), function_(function) {}

  Napi::Env env() const { return info_.Env(); }
  Napi::Value operator[](std::size_t i) const { return info_[i]; }

  /// Throws `code`: "function(): argument 2 must be …, not …."
  [[noreturn]] void reject(const char* code, const std::string& what, const std::string& expected,
                           Napi::Value got) const;
  [[noreturn]] void reject(std::size_t i, const std::string& expected) const;
  [[noreturn]] void disposed(std::size_t i) const;

 private:
  const Napi::CallbackInfo& info_;
  const char* function_;
};

/// A typed array's contents; valid during the call.
struct TypedData {
  DType dtype;
  std::span<const std::byte> bytes;
};

/// Throws ERR_HARDBIT_DTYPE or ERR_HARDBIT_SHAPE unless `data` is the contents of a tensor of dtype and
/// shape.
void check_contents(const char* function, DType dtype, const Shape& shape, const TypedData& data);

// -- JavaScript → C++

template <class T>
struct FromJs;

template <>
struct FromJs<Tensor> {
  /// A copy of the handle's tensor (it shares storage), so that nothing JavaScript does can take it away.
  static Tensor read(const Arguments& arguments, std::size_t i);
};
template <>
struct FromJs<double> {
  static double read(const Arguments& arguments, std::size_t i);
};
template <>
struct FromJs<std::int64_t> {
  static std::int64_t read(const Arguments& arguments, std::size_t i);
};
template <>
struct FromJs<int> {
  static int read(const Arguments& arguments, std::size_t i);
};
template <>
struct FromJs<std::uint64_t> {
  static std::uint64_t read(const Arguments& arguments, std::size_t i);
};
template <>
struct FromJs<DType> {
  static DType read(const Arguments& arguments, std::size_t i);
};
template <>
struct FromJs<Device> {
  static Device read(const Arguments& arguments, std::size_t i);
};
template <>
struct FromJs<Shape> {
  static Shape read(const Arguments& arguments, std::size_t i);
};
template <>
struct FromJs<bool> {
  static bool read(const Arguments& arguments, std::size_t i);
};
template <>
struct FromJs<std::string> {
  static std::string read(const Arguments& arguments, std::size_t i);
};
/// Any number of numbers.
template <>
struct FromJs<std::vector<double>> {
  static std::vector<double> read(const Arguments& arguments, std::size_t i);
};
template <>
struct FromJs<TypedData> {
  static TypedData read(const Arguments& arguments, std::size_t i);
};

/// Throws unless `value` is an array of `size` safe integers, and writes them.
void read_integers(const Arguments& arguments, const std::string& what, Napi::Value value, std::size_t size,
                   std::int64_t* integers);
template <std::size_t N>
struct FromJs<std::array<std::int64_t, N>> {
  static std::array<std::int64_t, N> read(const Arguments& arguments, std::size_t i) {
    std::array<std::int64_t, N> integers;
    read_integers(arguments, "argument " + std::to_string(i + 1), arguments[i], N, integers.data());
    return integers;
  }
};

/// null and undefined are nothing.
template <class T>
struct FromJs<std::optional<T>> {
  static std::optional<T> read(const Arguments& arguments, std::size_t i) {
    if (arguments[i].IsNull() || arguments[i].IsUndefined()) return std::nullopt;
    return FromJs<T>::read(arguments, i);
  }
};

/// The members of an options object, which the TypeScript interface makes mandatory.
class Members {
 public:
  Members(const Arguments& arguments, std::size_t i);
  double number(const char* name) const;
  std::int64_t integer(const char* name) const;
  bool boolean(const char* name) const;
  Tensor tensor(const char* name) const;
  template <std::size_t N>
  std::array<std::int64_t, N> integers(const char* name) const {
    std::array<std::int64_t, N> values;
    read_integers(arguments_, name, object_.Get(name), N, values.data());
    return values;
  }

 private:
  const Arguments& arguments_;
  Napi::Object object_;
};

// -- C++ → JavaScript

template <class T>
struct ToJs;

template <>
struct ToJs<Tensor> {
  static Napi::Value wrap(Napi::Env env, Tensor tensor);
};
template <>
struct ToJs<std::int64_t> {
  static Napi::Value wrap(Napi::Env env, std::int64_t value);
};
template <>
struct ToJs<double> {
  static Napi::Value wrap(Napi::Env env, double value) { return Napi::Number::New(env, value); }
};
/// null where there is none.
template <class T>
struct ToJs<std::optional<T>> {
  static Napi::Value wrap(Napi::Env env, std::optional<T> value) {
    return value ? ToJs<T>::wrap(env, std::move(*value)) : env.Null();
  }
};
template <>
struct ToJs<Napi::Value> {
  static Napi::Value wrap(Napi::Env, Napi::Value value) { return value; }
};

template <class T>
Napi::Value to_js(Napi::Env env, T value) {
  return ToJs<T>::wrap(env, std::move(value));
}

// -- calls

/// Runs `body`; native errors leave as JavaScript errors with their code.
template <class Body>
auto guarded(Napi::Env env, const Body& body) -> decltype(body());

/// How a parameter of type P is kept during the call, and passed.
template <class P>
struct Parameter {
  using Kept = std::remove_cvref_t<P>;
  static const Kept& pass(const Kept& kept) { return kept; }
};
/// A tensor that may be null.
template <>
struct Parameter<const Tensor*> {
  using Kept = std::optional<Tensor>;
  static const Tensor* pass(const Kept& kept) { return kept ? &*kept : nullptr; }
};

template <class Result, class... P, std::size_t... I>
Napi::Value invoke(const Arguments& arguments, Result (*function)(P...), std::index_sequence<I...>) {
  const std::tuple<typename Parameter<P>::Kept...> kept{
      FromJs<typename Parameter<P>::Kept>::read(arguments, I)...};
  if constexpr (std::is_void_v<Result>) {
    function(Parameter<P>::pass(std::get<I>(kept))...);
    return arguments.env().Undefined();
  } else {
    return to_js(arguments.env(), function(Parameter<P>::pass(std::get<I>(kept))...));
  }
}

template <class Result, class... P>
Napi::Value invoke(const Arguments& arguments, Result (*function)(P...)) {
  return invoke(arguments, function, std::index_sequence_for<P...>{});
}

/// What guarded() turns the exception in flight into.
[[noreturn]] void rethrow(Napi::Env env);

template <class Body>
auto guarded(Napi::Env env, const Body& body) -> decltype(body()) {
  try {
    return body();
  } catch (...) {
    rethrow(env);
  }
}

template <auto Function>
Napi::Value call(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return invoke(Arguments(info, static_cast<const char*>(info.Data())), Function); });
}

/// exports[name] = the native function.
template <auto Function>
void add(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<&call<Function>>(exports.Env(), name, const_cast<char*>(name)));
}

/// A call on a thread of libuv's pool; its result or error settles a promise. It keeps the arguments alive
/// until the function returns (tensors share their storage), whatever JavaScript does with its handles.
template <class Result, class... P>
class AsyncCall : public Napi::AsyncWorker {
 public:
  using Kept = std::tuple<typename Parameter<P>::Kept...>;

  AsyncCall(Napi::Env env, const char* name, Result (*function)(P...), Kept kept,
            Napi::Promise::Deferred deferred)
      : AsyncWorker(env, name), function_(function), kept_(std::move(kept)), deferred_(deferred) {}

  void Execute() override {
    try {
      result_ = run(std::index_sequence_for<P...>{});
    } catch (...) {
      failure_ = std::current_exception();
    }
    kept_.reset();
  }

  void OnOK() override {
    try {
      try {
        if (failure_) guarded(Env(), [this] { std::rethrow_exception(failure_); });
        deferred_.Resolve(to_js(Env(), std::move(*result_)));
      } catch (const Napi::Error& error) {
        deferred_.Reject(error.Value());
      }
    } catch (const Napi::Error&) {
      // The environment is ending and runs no more JavaScript: nobody is left to tell.
    }
  }

 private:
  template <std::size_t... I>
  Result run(std::index_sequence<I...>) {
    return function_(Parameter<P>::pass(std::get<I>(*kept_))...);
  }

  Result (*function_)(P...);
  std::optional<Kept> kept_;
  std::optional<Result> result_;
  std::exception_ptr failure_;
  Napi::Promise::Deferred deferred_;
};

template <class Result, class... P, std::size_t... I>
void start(const Arguments& arguments, const char* name, Result (*function)(P...),
           Napi::Promise::Deferred deferred, std::index_sequence<I...>) {
  typename AsyncCall<Result, P...>::Kept kept{FromJs<typename Parameter<P>::Kept>::read(arguments, I)...};
  // Deletes itself once it has settled the promise.
  (new AsyncCall<Result, P...>(arguments.env(), name, function, std::move(kept), deferred))->Queue();
}

template <class Result, class... P>
void start(const Arguments& arguments, const char* name, Result (*function)(P...),
           Napi::Promise::Deferred deferred) {
  start(arguments, name, function, deferred, std::index_sequence_for<P...>{});
}

template <auto Function>
Napi::Value call_async(const Napi::CallbackInfo& info) {
  const auto* const name = static_cast<const char*>(info.Data());
  const auto deferred = Napi::Promise::Deferred::New(info.Env());
  try {
    guarded(info.Env(), [&] { start(Arguments(info, name), name, Function, deferred); });
  } catch (const Napi::Error& error) {
    deferred.Reject(error.Value());
  }
  return deferred.Promise();
}

/// exports[name] = the native function as one that returns a promise; wrong arguments reject it too.
template <auto Function>
void add_async(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<&call_async<Function>>(exports.Env(), name, const_cast<char*>(name)));
}

// -- the families, one file each

void add_runtime(Napi::Object exports);
void add_tensors(Napi::Object exports);
void add_rows(Napi::Object exports);
void add_elementwise(Napi::Object exports);
void add_bits(Napi::Object exports);
void add_binary_gradients(Napi::Object exports);
void add_dense(Napi::Object exports);
void add_conv2d(Napi::Object exports);
void add_batch_norm(Napi::Object exports);
void add_folding(Napi::Object exports);
void add_loss(Napi::Object exports);
void add_optimizers(Napi::Object exports);
void add_attacks(Napi::Object exports);
void add_pooling(Napi::Object exports);
void add_quantizers(Napi::Object exports);
void add_random(Napi::Object exports);
void add_readers(Napi::Object exports);
void add_recording(Napi::Object exports);
void add_deployed(Napi::Object exports);
void add_bench(Napi::Object exports);

}  // namespace hardbit::node
