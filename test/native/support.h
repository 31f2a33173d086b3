#pragma once
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/allocator.h"
#include "runtime/error.h"
#include "runtime/tensor.h"
#include "runtime/threads.h"

// Small helpers of the operators' tests.

namespace hardbit::test {

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) return DType::f32;
  if constexpr (std::is_same_v<T, std::int32_t>) return DType::i32;
  if constexpr (std::is_same_v<T, std::int16_t>) return DType::i16;
  if constexpr (std::is_same_v<T, std::uint8_t>) return DType::u8;
  return DType::bits;
}

/// Where tests put their operands: the cpu, or what HARDBIT_TEST_DEVICE says.
inline Device device() {
  static const Device chosen = [] {
    const char* const name = std::getenv("HARDBIT_TEST_DEVICE");
    return name != nullptr && std::string(name) == "cuda" ? Device::cuda : Device::cpu;
  }();
  return chosen;
}

template <class T>
Tensor make(Shape shape, const std::vector<T>& values) {
  const Tensor x = Tensor::empty(dtype_of<T>(), std::move(shape), device());
  EXPECT_EQ(x.byte_length(), values.size() * sizeof(T));
  if (x.byte_length() == values.size() * sizeof(T)) x.write_host(values.data());
  return x;
}

template <class T>
std::vector<T> values(const Tensor& x) {
  EXPECT_EQ(x.dtype(), dtype_of<T>());
  std::vector<T> all(x.byte_length() / sizeof(T));
  x.read_host(all.data());
  return all;
}

/// The bytes, so that comparisons tell −0 from 0 and one NaN from another.
inline std::vector<unsigned char> bytes(const Tensor& x) {
  std::vector<unsigned char> all(x.byte_length());
  x.read_host(all.data());
  return all;
}

/// Where the host can read it: itself, or a copy.
inline Tensor host(const Tensor& x) { return x.to(Device::cpu); }

inline std::vector<float> random_floats(std::int64_t count, std::uint32_t seed, float low = -1,
                                        float high = 1) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<float> x(static_cast<std::size_t>(count));
  for (float& v : x) v = uniform(random);
  return x;
}

inline Tensor random_tensor(Shape shape, std::uint32_t seed, float low = -1, float high = 1) {
  const std::int64_t count = element_count(shape);
  return make(std::move(shape), random_floats(count, seed, low, high));
}

/// Fills the allocator's cache with the bytes of a NaN, so that an element nobody writes shows.
inline void poison_cache() {
  std::vector<Block> blocks;
  for (std::size_t size = 64; size <= (std::size_t{1} << 18); size += size / 8 < 64 ? 64 : size / 8) {
    for (int i = 0; i < 2; ++i) {
      blocks.push_back(allocate(size));
      std::memset(blocks.back().data, 0xFF, blocks.back().capacity);
    }
  }
  for (const Block block : blocks) release(block);
}

/// Runs `f` with 1, 2, 3 and 7 threads and expects the same bytes from each; f returns one tensor. On a GPU
/// it runs twice: the emulation then takes blocks and threads in another order.
template <class F>
void expect_same_on_all_thread_counts(const F& f) {
  const int before = threads();
  set_threads(1);
  const auto expected = bytes(f());
  for (const int count : {2, 3, 7}) {
    if (count > 2 && device() == Device::cuda) break;
    set_threads(count);
    poison_cache();
    EXPECT_EQ(bytes(f()), expected) << count << " threads";
  }
  set_threads(before);
}

template <class F>
void expect_error(const char* code, const F& f, const std::string& part = "") {
  try {
    f();
    ADD_FAILURE() << "expected " << code;
  } catch (const Error& error) {
    EXPECT_STREQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).back(), '.') << error.what();
  }
}

}  // namespace hardbit::test
