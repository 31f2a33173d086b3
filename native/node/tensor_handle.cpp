#include "node/tensor_handle.h"

#include "cuda/driver.h"
#include "node/addon.h"
#include "node/binding.h"
#include "runtime/cuda_build.h"

namespace hardbit::node {
namespace {

constexpr napi_type_tag tag = {0x9d5b7c1e4f3a4c26, 0xa1e08b6d2c97f354};

/// What the garbage collector is told of a tensor's memory: nothing else frees a handle that nobody disposes
/// of. It marks a little at every few megabytes, so a GPU's memory counts by its share of the device's, as if
/// that had 256 MB; else it would mark at every activation of a training.
std::int64_t charge_of(const Tensor& tensor) {
  const auto bytes = static_cast<double>(tensor.byte_length());
  if (tensor.device() == Device::cpu) return static_cast<std::int64_t>(bytes);
#if HARDBIT_CUDA
  constexpr double whole_device = 256e6;
  // Asked for once: a device that is lost later says nothing any more.
  static const auto memory = static_cast<double>(cuda::driver::device().memory);
  return static_cast<std::int64_t>(bytes * whole_device / memory);
#else
  return 0;
#endif
}

void tell(Napi::BasicEnv env, std::int64_t bytes) {
  if (bytes != 0) Napi::MemoryManagement::AdjustExternalMemory(env, bytes);
}

template <class Array>
Napi::Value copy_out(Napi::Env env, const Tensor& tensor, std::size_t element_size) {
  const std::size_t bytes = tensor.byte_length();
  const Array array = Array::New(env, bytes / element_size);
  if (bytes > 0) tensor.read_host(array.ArrayBuffer().Data());
  return array;
}

}  // namespace

Napi::Function TensorHandle::define(Napi::Env env) {
  return DefineClass(env, "NativeTensor",
                     {
                         InstanceAccessor<&TensorHandle::shape>("shape"),
                         InstanceAccessor<&TensorHandle::dtype>("dtype"),
                         InstanceAccessor<&TensorHandle::device>("device"),
                         InstanceAccessor<&TensorHandle::byte_length>("byteLength"),
                         InstanceAccessor<&TensorHandle::disposed>("disposed"),
                         InstanceMethod<&TensorHandle::read>("read"),
                         InstanceMethod<&TensorHandle::write>("write"),
                         InstanceMethod<&TensorHandle::dispose>("dispose"),
                     });
}

Napi::Value TensorHandle::make(Napi::Env env, Tensor tensor) {
  Addon& addon = Addon::of(env);
  addon.pending = &tensor;
  return addon.tensor_constructor.New({});
}

TensorHandle* TensorHandle::from(Napi::Value value) {
  if (!value.IsObject()) return nullptr;
  const auto object = value.As<Napi::Object>();
  return object.CheckTypeTag(&tag) ? Unwrap(object) : nullptr;
}

TensorHandle::TensorHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  Tensor* pending = std::exchange(Addon::of(info.Env()).pending, nullptr);
  guarded(info.Env(), [&] {
    if (pending == nullptr) {
      throw Error("ERR_HARDBIT_ARGUMENT",
                  "NativeTensor has no public constructor; make tensors with tensor().");
    }
  });
  info.This().As<Napi::Object>().TypeTag(&tag);
  tensor_ = std::move(*pending);
  guarded(info.Env(), [&] { charged_ = charge_of(tensor_); });
  tell(info.Env(), Addon::of(info.Env()).external_memory.take(charged_));
}

void TensorHandle::Finalize(Napi::BasicEnv env) {
  if (!tensor_.defined()) return;
  tensor_ = Tensor();
  tell(env, -charged_);
}

const Tensor& TensorHandle::live(const char* member) const {
  if (tensor_.defined()) return tensor_;
  throw Error(
      "ERR_HARDBIT_DISPOSED",
      std::string(member) + ": the tensor is disposed; use it before dispose() or the end of its scope.");
}

Napi::Value TensorHandle::shape(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Shape& shape = live("shape").shape();
    const auto array = Napi::Array::New(info.Env(), shape.size());
    for (std::uint32_t d = 0; d < shape.size(); ++d) array.Set(d, to_js(info.Env(), shape[d]));
    return array;
  });
}

Napi::Value TensorHandle::dtype(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&]() -> Napi::Value { return Napi::String::New(info.Env(), name(live("dtype").dtype())); });
}

Napi::Value TensorHandle::device(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::String::New(info.Env(), name(live("device").device()));
  });
}

Napi::Value TensorHandle::byte_length(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return to_js(info.Env(), static_cast<std::int64_t>(live("byteLength").byte_length()));
  });
}

Napi::Value TensorHandle::disposed(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), !tensor_.defined());
}

Napi::Value TensorHandle::read(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Tensor& tensor = live("read");
    switch (tensor.dtype()) {
      case DType::f32:
        return copy_out<Napi::Float32Array>(info.Env(), tensor, 4);
      case DType::i32:
        return copy_out<Napi::Int32Array>(info.Env(), tensor, 4);
      case DType::i16:
        return copy_out<Napi::Int16Array>(info.Env(), tensor, 2);
      case DType::u8:
        return copy_out<Napi::Uint8Array>(info.Env(), tensor, 1);
      case DType::bits:
        return copy_out<Napi::BigUint64Array>(info.Env(), tensor, 8);
    }
    return info.Env().Undefined();
  });
}

void TensorHandle::write(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const Tensor tensor = live("write");
    const TypedData data = FromJs<TypedData>::read(Arguments(info, "write"), 0);
    check_contents("write", tensor.dtype(), tensor.shape(), data);
    tensor.write_host(data.bytes.data());
  });
}

void TensorHandle::dispose(const Napi::CallbackInfo& info) {
  if (!tensor_.defined()) return;
  tensor_ = Tensor();
  tell(info.Env(), Addon::of(info.Env()).external_memory.give_back(charged_));
}

}  // namespace hardbit::node
