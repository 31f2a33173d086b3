#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <string>

#include "runtime/error.h"
#include "runtime/tensor.h"

/// What every operator checks, with the sentences users read. `op` is the name in lib/native.ts, `what` the
/// operand's.
namespace hardbit::ops::check {

[[noreturn]] inline void fail(const char* code, const char* op, const std::string& sentence) {
  throw Error(code, std::string(op) + ": " + sentence);
}

inline void dtype(const char* op, const char* what, const Tensor& t, std::initializer_list<DType> allowed) {
  std::string expected;
  for (const DType d : allowed) {
    if (t.dtype() == d) return;
    expected += (expected.empty() ? "" : " or ") + std::string(name(d));
  }
  fail("ERR_HARDBIT_DTYPE", op,
       std::string(what) + " holds " + name(t.dtype()) + "; expected " + expected + ".");
}

inline void dtype(const char* op, const char* what, const Tensor& t, DType expected) {
  dtype(op, what, t, {expected});
}

/// `layout` names the dimensions, e.g. "[N, K]".
inline void rank(const char* op, const char* what, const Tensor& t, std::size_t expected,
                 const char* layout) {
  if (t.rank() == expected) return;
  fail("ERR_HARDBIT_SHAPE", op,
       std::string(what) + " has shape " + to_string(t.shape()) + "; expected rank " +
           std::to_string(expected) + ", " + layout + ".");
}

inline void rank_at_least(const char* op, const char* what, const Tensor& t, std::size_t least) {
  if (t.rank() >= least) return;
  fail("ERR_HARDBIT_SHAPE", op,
       std::string(what) + " has shape " + to_string(t.shape()) + "; expected rank " + std::to_string(least) +
           " or more.");
}

inline void shape(const char* op, const char* what, const Tensor& t, const Shape& expected) {
  if (t.shape() == expected) return;
  fail("ERR_HARDBIT_SHAPE", op,
       std::string(what) + " has shape " + to_string(t.shape()) + "; expected " + to_string(expected) + ".");
}

/// An f32 tensor of one shape.
inline void f32(const char* op, const char* what, const Tensor& t, const Shape& expected) {
  dtype(op, what, t, DType::f32);
  shape(op, what, t, expected);
}

/// Dimension `i` of t equals `expected`; `because` says where that number comes from, e.g. "the columns of
/// x".
inline void dim(const char* op, const char* what, const Tensor& t, std::size_t i, std::int64_t expected,
                const char* because) {
  if (t.dim(i) == expected) return;
  fail("ERR_HARDBIT_SHAPE", op,
       std::string(what) + " has shape " + to_string(t.shape()) + "; expected dimension " +
           std::to_string(i) + " to be " + std::to_string(expected) + ", " + because + ".");
}

inline std::string text(double value) {
  std::string digits(32, '\0');
  digits.resize(static_cast<std::size_t>(std::snprintf(digits.data(), digits.size(), "%.9g", value)));
  return digits;
}

/// A number that is finite as f32.
inline float finite(const char* op, const char* what, double value) {
  if (!(std::abs(value) <= 3.4028234663852886e38)) {
    fail("ERR_HARDBIT_ARGUMENT", op,
         std::string(what) + " is " + text(value) + "; expected a finite number.");
  }
  return static_cast<float>(value);
}

/// A number in [least, most], as f32.
inline float between(const char* op, const char* what, double value, double least, double most) {
  if (!(value >= least && value <= most)) {
    fail("ERR_HARDBIT_ARGUMENT", op,
         std::string(what) + " is " + text(value) + "; expected a number from " + text(least) + " to " +
             text(most) + ".");
  }
  return static_cast<float>(value);
}

/// A finite number, 0 or more.
inline float not_negative(const char* op, const char* what, double value) {
  if (value < 0) {
    fail("ERR_HARDBIT_ARGUMENT", op, std::string(what) + " is " + text(value) + "; expected 0 or more.");
  }
  return finite(op, what, value);
}

inline void integer_between(const char* op, const char* what, std::int64_t value, std::int64_t least,
                            std::int64_t most) {
  if (value >= least && value <= most) return;
  fail("ERR_HARDBIT_ARGUMENT", op,
       std::string(what) + " is " + std::to_string(value) + "; expected an integer from " +
           std::to_string(least) + " to " + std::to_string(most) + ".");
}

/// A random stream's number as the 32-bit counter word it is.
inline std::uint32_t stream(const char* op, std::uint64_t value) {
  if (value > 0xFFFFFFFFU) {
    fail("ERR_HARDBIT_ARGUMENT", op,
         "stream is " + std::to_string(value) + "; expected an integer below 2^32.");
  }
  return static_cast<std::uint32_t>(value);
}

}  // namespace hardbit::ops::check
