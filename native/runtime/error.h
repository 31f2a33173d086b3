#pragma once
#include <stdexcept>
#include <string>

namespace hardbit {

/// An error with one of the codes listed in lib/errors.ts, e.g. "ERR_HARDBIT_SHAPE". The bindings turn it
/// into a JavaScript Error with the same `code`.
class Error : public std::runtime_error {
 public:
  Error(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  /// A string literal with static lifetime.
  const char* code() const noexcept { return code_; }

 private:
  const char* code_;
};

}  // namespace hardbit
