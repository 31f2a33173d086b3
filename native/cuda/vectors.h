#pragma once
// Elements read and written several at once.

#include <cstdint>
#include <type_traits>

#include "cuda/kernel.h"

namespace hardbit::cuda {

inline bool aligned(const void* address, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(address) % bytes == 0;
}

/// V neighbouring elements, aligned so that one access takes them.
template <class T, int V>
struct alignas(sizeof(T) * V) Vector {
  T at[V];
};

template <int V, class T>
__device__ inline const Vector<T, V>* vectors_of(const T* x) {
  return reinterpret_cast<const Vector<T, V>*>(x);
}
template <int V, class T>
__device__ inline Vector<T, V>* vectors_of(T* x) {
  return reinterpret_cast<Vector<T, V>*>(x);
}

/// Calls f(integral constant V, number of the vector) for vectors of V elements, which are the n elements one
/// after the other: V is 4, and 1 for those that are left over.
template <class F>
struct EachVector {
  std::int64_t n;
  F f;
  __device__ void operator()(std::int64_t i) const {
    if (4 * i + 4 <= n) {
      f(std::integral_constant<int, 4>(), i);
    } else {
      for (std::int64_t j = 4 * i; j < n; ++j) f(std::integral_constant<int, 1>(), j);
    }
  }
};
template <class F>
struct EachElement {
  F f;
  __device__ void operator()(std::int64_t i) const { f(std::integral_constant<int, 1>(), i); }
};

/// As for_each, by vectors where `by_four` says that the elements' addresses allow it.
template <class F>
void for_each_vector(std::int64_t n, bool by_four, F f) {
  if (by_four) {
    for_each(ceil_div<std::int64_t>(n, 4), EachVector<F>{n, f});
  } else {
    for_each(n, EachElement<F>{f});
  }
}

template <class T>
bool by_four(const T* x) {
  return aligned(x, sizeof(Vector<T, 4>));
}

/// y[i] ← f(x[i]).
template <class T, class F>
void map_elements(std::int64_t n, const T* x, float* y, F f) {
  for_each_vector(n, by_four(x) && by_four(y), [=] __device__(auto width, std::int64_t i) {
    constexpr int v = decltype(width)::value;
    const Vector<T, v> in = vectors_of<v>(x)[i];
    Vector<float, v> out;
#pragma unroll
    for (int k = 0; k < v; ++k) out.at[k] = f(in.at[k]);
    vectors_of<v>(y)[i] = out;
  });
}

/// y[i] ← f(a[i], b[i]); y may be a or b.
template <class F>
void map_elements(std::int64_t n, const float* a, const float* b, float* y, F f) {
  for_each_vector(n, by_four(a) && by_four(b) && by_four(y), [=] __device__(auto width, std::int64_t i) {
    constexpr int v = decltype(width)::value;
    const Vector<float, v> in = vectors_of<v>(a)[i];
    const Vector<float, v> with = vectors_of<v>(b)[i];
    Vector<float, v> out;
#pragma unroll
    for (int k = 0; k < v; ++k) out.at[k] = f(in.at[k], with.at[k]);
    vectors_of<v>(y)[i] = out;
  });
}

}  // namespace hardbit::cuda
