#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>
#include <span>
#include <vector>

namespace hardbit::test {

/// `size` elements that end where an inaccessible page begins, so that reading or writing past the end is a
/// crash, and that begin after poisoned bytes, which `intact` checks. The elements are poisoned too.
template <class T>
class Guarded {
 public:
  static constexpr unsigned char poison = 0xA5;

  explicit Guarded(std::size_t size) : size_(size) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    usable_ = (size * sizeof(T) / page + 2) * page;
    mapped_ = usable_ + page;
    void* memory = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    base_ = static_cast<unsigned char*>(memory);
    std::memset(base_, poison, usable_);
    mprotect(base_ + usable_, page, PROT_NONE);
  }
  explicit Guarded(const std::vector<T>& values) : Guarded(values.size()) {
    std::copy(values.begin(), values.end(), data());
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { munmap(base_, mapped_); }

  T* data() const { return reinterpret_cast<T*>(base_ + usable_ - size_ * sizeof(T)); }
  std::size_t size() const { return size_; }
  std::vector<T> values() const { return {data(), data() + size_}; }
  /// The bytes before the first element are as they were.
  bool intact() const {
    return std::all_of(base_, base_ + usable_ - size_ * sizeof(T),
                       [](unsigned char byte) { return byte == poison; });
  }

 private:
  std::size_t size_;
  std::size_t usable_;
  std::size_t mapped_;
  unsigned char* base_;
};

}  // namespace hardbit::test
