#include <span>
#include <string>
#include <vector>

#include "node/binding.h"
#include "readers/idx.h"
#include "readers/npy.h"
#include "readers/safetensors.h"

namespace hardbit::node {

/// A file's bytes; valid during the call.
template <>
struct FromJs<std::span<const std::uint8_t>> {
  static std::span<const std::uint8_t> read(const Arguments& arguments, std::size_t i) {
    const Napi::Value value = arguments[i];
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
      arguments.reject(i, "a Uint8Array");
    }
    const auto array = value.As<Napi::Uint8Array>();
    return {array.Data(), array.ElementLength()};
  }
};

template <>
struct ToJs<std::vector<std::uint64_t>> {
  static Napi::Value wrap(Napi::Env env, const std::vector<std::uint64_t>& sizes) {
    const auto array = Napi::Array::New(env, sizes.size());
    for (std::uint32_t i = 0; i < sizes.size(); ++i) array.Set(i, static_cast<double>(sizes[i]));
    return array;
  }
};

namespace {

/// What all headers say: where the elements lie.
template <class Header>
Napi::Object placed(Napi::Env env, const Header& header) {
  const auto object = Napi::Object::New(env);
  object.Set("shape", to_js(env, header.shape));
  object.Set("offset", static_cast<double>(header.offset));
  object.Set("length", static_cast<double>(header.length));
  return object;
}

}  // namespace

template <>
struct ToJs<readers::IdxHeader> {
  static Napi::Value wrap(Napi::Env env, const readers::IdxHeader& header) { return placed(env, header); }
};

template <>
struct ToJs<readers::NpyHeader> {
  static Napi::Value wrap(Napi::Env env, const readers::NpyHeader& header) {
    const Napi::Object object = placed(env, header);
    object.Set("descriptor", header.descriptor);
    return object;
  }
};

template <>
struct ToJs<readers::SafetensorsHeader> {
  static Napi::Value wrap(Napi::Env env, const readers::SafetensorsHeader& header) {
    const auto tensors = Napi::Array::New(env, header.tensors.size());
    for (std::uint32_t i = 0; i < header.tensors.size(); ++i) {
      const Napi::HandleScope scope(env);
      const readers::SafetensorsTensor& tensor = header.tensors[i];
      const Napi::Object object = placed(env, tensor);
      object.Set("name", tensor.name);
      object.Set("dtype", tensor.dtype);
      tensors.Set(i, object);
    }
    const auto metadata = Napi::Array::New(env, header.metadata.size());
    for (std::uint32_t i = 0; i < header.metadata.size(); ++i) {
      const Napi::HandleScope scope(env);
      const auto pair = Napi::Array::New(env, 2);
      pair.Set(0U, header.metadata[i].first);
      pair.Set(1U, header.metadata[i].second);
      metadata.Set(i, pair);
    }
    const auto object = Napi::Object::New(env);
    object.Set("tensors", tensors);
    object.Set("metadata", metadata);
    return object;
  }
};

void add_readers(Napi::Object exports) {
  add<readers::read_idx>(exports, "readIdx");
  add<readers::read_npy>(exports, "readNpy");
  add<readers::read_safetensors>(exports, "readSafetensors");
}

}  // namespace hardbit::node
