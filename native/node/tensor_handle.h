#pragma once
#include <napi.h>

#include "runtime/tensor.h"

namespace hardbit::node {

/// What JavaScript holds of a tensor: one reference to its storage, dropped by dispose() or the finalizer. V8
/// is told of the bytes (external_memory.h), so that garbage collection feels them; a view counts like its
/// base.
class TensorHandle : public Napi::ObjectWrap<TensorHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Value make(Napi::Env env, Tensor tensor);
  /// nullptr where `value` is no tensor handle.
  static TensorHandle* from(Napi::Value value);

  explicit TensorHandle(const Napi::CallbackInfo& info);
  void Finalize(Napi::BasicEnv env) override;

  /// Undefined once disposed.
  const Tensor& tensor() const { return tensor_; }

 private:
  Napi::Value shape(const Napi::CallbackInfo& info);
  Napi::Value dtype(const Napi::CallbackInfo& info);
  Napi::Value device(const Napi::CallbackInfo& info);
  Napi::Value byte_length(const Napi::CallbackInfo& info);
  Napi::Value disposed(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  void write(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);

  /// The tensor, or ERR_HARDBIT_DISPOSED.
  const Tensor& live(const char* member) const;

  Tensor tensor_;
  std::int64_t charged_ = 0;
};

}  // namespace hardbit::node
