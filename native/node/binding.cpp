#include "node/binding.h"

#include <array>
#include <cmath>
#include <limits>
#include <new>

#include "node/tensor_handle.h"

namespace hardbit::node {
namespace {

constexpr double kMaxSafeInteger = 9007199254740991.0;

/// "a string", "the number 1.5", "undefined"
std::string describe(Napi::Value value) {
  switch (value.Type()) {
    case napi_undefined:
      return "undefined";
    case napi_null:
      return "null";
    case napi_number:
      return "the number " + value.ToString().Utf8Value();
    case napi_boolean:
      return "a boolean";
    case napi_string:
      return "'" + value.As<Napi::String>().Utf8Value() + "'";
    case napi_symbol:
      return "a symbol";
    case napi_function:
      return "a function";
    case napi_bigint:
      return "a bigint";
    default:
      return value.IsArray() ? "an array" : "an object";
  }
}

std::string argument_name(std::size_t i) { return "argument " + std::to_string(i + 1); }

bool is_integer(double value, double least) {
  return value >= least && value <= kMaxSafeInteger && value == std::floor(value);
}

}  // namespace

void Arguments::reject(const char* code, const std::string& what, const std::string& expected,
                       Napi::Value got) const {
  throw Error(code,
              std::string(function_) + ": " + what + " must be " + expected + ", not " + describe(got) + ".");
}

void Arguments::reject(std::size_t i, const std::string& expected) const {
  reject("ERR_HARDBIT_ARGUMENT", argument_name(i), expected, info_[i]);
}

void Arguments::disposed(std::size_t i) const {
  throw Error("ERR_HARDBIT_DISPOSED",
              std::string(function_) + ": " + argument_name(i) +
                  " is a disposed tensor; use it before dispose() or the end of its scope.");
}

Tensor FromJs<Tensor>::read(const Arguments& arguments, std::size_t i) {
  const TensorHandle* handle = TensorHandle::from(arguments[i]);
  if (handle == nullptr) arguments.reject(i, "a native tensor");
  if (!handle->tensor().defined()) arguments.disposed(i);
  return handle->tensor();
}

double FromJs<double>::read(const Arguments& arguments, std::size_t i) {
  if (!arguments[i].IsNumber()) arguments.reject(i, "a number");
  return arguments[i].As<Napi::Number>().DoubleValue();
}

std::int64_t FromJs<std::int64_t>::read(const Arguments& arguments, std::size_t i) {
  const double value = arguments[i].IsNumber() ? arguments[i].As<Napi::Number>().DoubleValue() : 0.5;
  if (!is_integer(value, -kMaxSafeInteger)) arguments.reject(i, "a safe integer");
  return static_cast<std::int64_t>(value);
}

int FromJs<int>::read(const Arguments& arguments, std::size_t i) {
  const std::int64_t value = FromJs<std::int64_t>::read(arguments, i);
  if (value != static_cast<int>(value)) arguments.reject(i, "a 32-bit integer");
  return static_cast<int>(value);
}

std::uint64_t FromJs<std::uint64_t>::read(const Arguments& arguments, std::size_t i) {
  const double value = arguments[i].IsNumber() ? arguments[i].As<Napi::Number>().DoubleValue() : -1;
  if (!is_integer(value, 0)) arguments.reject(i, "a safe integer of 0 or more");
  return static_cast<std::uint64_t>(value);
}

DType FromJs<DType>::read(const Arguments& arguments, std::size_t i) {
  if (arguments[i].IsString()) {
    const std::string text = arguments[i].As<Napi::String>().Utf8Value();
    for (const DType dtype : {DType::f32, DType::i32, DType::i16, DType::u8, DType::bits}) {
      if (text == name(dtype)) return dtype;
    }
  }
  arguments.reject(i, "a dtype ('f32', 'i32', 'i16', 'u8' or 'bits')");
}

Device FromJs<Device>::read(const Arguments& arguments, std::size_t i) {
  if (arguments[i].IsString()) {
    const std::string text = arguments[i].As<Napi::String>().Utf8Value();
    for (const Device device : {Device::cpu, Device::cuda}) {
      if (text == name(device)) return device;
    }
  }
  arguments.reject(i, "a device ('cpu' or 'cuda')");
}

Shape FromJs<Shape>::read(const Arguments& arguments, std::size_t i) {
  constexpr const char* expected = "a shape (an array of integers of 0 or more)";
  if (!arguments[i].IsArray()) arguments.reject(i, expected);
  const auto array = arguments[i].As<Napi::Array>();
  Shape shape;
  for (std::uint32_t d = 0; d < array.Length(); ++d) {
    const Napi::Value entry = array[d];
    const double value = entry.IsNumber() ? entry.As<Napi::Number>().DoubleValue() : -1;
    if (!is_integer(value, 0)) {
      arguments.reject("ERR_HARDBIT_SHAPE", "dimension " + std::to_string(d) + " of the shape",
                       "a safe integer of 0 or more", entry);
    }
    shape.push_back(static_cast<std::int64_t>(value));
  }
  return shape;
}

bool FromJs<bool>::read(const Arguments& arguments, std::size_t i) {
  if (!arguments[i].IsBoolean()) arguments.reject(i, "a boolean");
  return arguments[i].As<Napi::Boolean>().Value();
}

std::string FromJs<std::string>::read(const Arguments& arguments, std::size_t i) {
  if (!arguments[i].IsString()) arguments.reject(i, "a string");
  return arguments[i].As<Napi::String>().Utf8Value();
}

std::vector<double> FromJs<std::vector<double>>::read(const Arguments& arguments, std::size_t i) {
  constexpr const char* expected = "an array of numbers";
  if (!arguments[i].IsArray()) arguments.reject(i, expected);
  const auto array = arguments[i].As<Napi::Array>();
  std::vector<double> numbers;
  for (std::uint32_t k = 0; k < array.Length(); ++k) {
    const Napi::Value entry = array[k];
    if (!entry.IsNumber()) arguments.reject(i, expected);
    numbers.push_back(entry.As<Napi::Number>().DoubleValue());
  }
  return numbers;
}

TypedData FromJs<TypedData>::read(const Arguments& arguments, std::size_t i) {
  constexpr const char* expected = "a Float32Array, Int32Array, Int16Array, Uint8Array or BigUint64Array";
  if (!arguments[i].IsTypedArray()) arguments.reject(i, expected);
  const auto array = arguments[i].As<Napi::TypedArray>();
  DType dtype{};
  switch (array.TypedArrayType()) {
    case napi_float32_array:
      dtype = DType::f32;
      break;
    case napi_int32_array:
      dtype = DType::i32;
      break;
    case napi_int16_array:
      dtype = DType::i16;
      break;
    case napi_uint8_array:
      dtype = DType::u8;
      break;
    case napi_biguint64_array:
      dtype = DType::bits;
      break;
    default:
      arguments.reject("ERR_HARDBIT_DTYPE", argument_name(i), expected, array);
  }
  const auto* base = static_cast<const std::byte*>(array.ArrayBuffer().Data());
  return {dtype, {base + array.ByteOffset(), array.ByteLength()}};
}

void read_integers(const Arguments& arguments, const std::string& what, Napi::Value value, std::size_t size,
                   std::int64_t* integers) {
  const std::string expected = "an array of " + std::to_string(size) + " safe integers";
  if (!value.IsArray() || value.As<Napi::Array>().Length() != size) {
    arguments.reject("ERR_HARDBIT_ARGUMENT", what, expected, value);
  }
  for (std::uint32_t d = 0; d < size; ++d) {
    const Napi::Value entry = value.As<Napi::Array>()[d];
    const double number = entry.IsNumber() ? entry.As<Napi::Number>().DoubleValue() : 0.5;
    if (!is_integer(number, -kMaxSafeInteger)) {
      arguments.reject("ERR_HARDBIT_ARGUMENT", "entry " + std::to_string(d) + " of " + what, "a safe integer",
                       entry);
    }
    integers[d] = static_cast<std::int64_t>(number);
  }
}

Members::Members(const Arguments& arguments, std::size_t i)
    : arguments_(arguments),
      object_(arguments[i].IsObject() ? arguments[i].As<Napi::Object>()
                                      : (arguments.reject(i, "an object"), Napi::Object())) {}

double Members::number(const char* name) const {
  const Napi::Value value = object_.Get(name);
  if (!value.IsNumber()) arguments_.reject("ERR_HARDBIT_ARGUMENT", name, "a number", value);
  return value.As<Napi::Number>().DoubleValue();
}

std::int64_t Members::integer(const char* name) const {
  const double value = number(name);
  if (!is_integer(value, -kMaxSafeInteger)) {
    arguments_.reject("ERR_HARDBIT_ARGUMENT", name, "a safe integer", object_.Get(name));
  }
  return static_cast<std::int64_t>(value);
}

bool Members::boolean(const char* name) const {
  const Napi::Value value = object_.Get(name);
  if (!value.IsBoolean()) arguments_.reject("ERR_HARDBIT_ARGUMENT", name, "a boolean", value);
  return value.As<Napi::Boolean>().Value();
}

Tensor Members::tensor(const char* name) const {
  const Napi::Value value = object_.Get(name);
  const TensorHandle* handle = TensorHandle::from(value);
  if (handle == nullptr) arguments_.reject("ERR_HARDBIT_ARGUMENT", name, "a native tensor", value);
  if (!handle->tensor().defined())
    arguments_.reject("ERR_HARDBIT_DISPOSED", name, "a tensor that is not disposed", value);
  return handle->tensor();
}

Napi::Value ToJs<Tensor>::wrap(Napi::Env env, Tensor tensor) {
  return TensorHandle::make(env, std::move(tensor));
}

Napi::Value ToJs<std::int64_t>::wrap(Napi::Env env, std::int64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

void rethrow(Napi::Env env) {
  const auto coded = [env](const char* code, const char* message) {
    Napi::Error error = Napi::Error::New(env, message);
    error.Set("code", code);
    return error;
  };
  try {
    throw;
  } catch (const Napi::Error&) {
    throw;
  } catch (const Error& error) {
    throw coded(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    throw coded("ERR_HARDBIT_MEMORY", "There is not enough memory for this; use smaller batches.");
  } catch (const std::exception& error) {
    throw coded("ERR_HARDBIT_UNSUPPORTED", error.what());
  }
}

}  // namespace hardbit::node
