#pragma once
#include <napi.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>

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

/// Copies `data` into the tensor: ERR_HARDBIT_DTYPE or ERR_HARDBIT_SHAPE where type or length differ; padding
/// bits are cleared.
void write_contents(const char* function, const Tensor& tensor, const TypedData& data);

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
struct FromJs<Shape> {
  static Shape read(const Arguments& arguments, std::size_t i);
};
template <>
struct FromJs<TypedData> {
  static TypedData read(const Arguments& arguments, std::size_t i);
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

// -- the families, one file each

void add_runtime(Napi::Object exports);
void add_tensors(Napi::Object exports);
void add_rows(Napi::Object exports);
void add_elementwise(Napi::Object exports);
void add_bits(Napi::Object exports);
void add_dense(Napi::Object exports);
void add_batch_norm(Napi::Object exports);
void add_loss(Napi::Object exports);
void add_optimizers(Napi::Object exports);
void add_attacks(Napi::Object exports);
void add_random(Napi::Object exports);

}  // namespace hardbit::node
