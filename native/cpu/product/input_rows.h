#pragma once
#include "cpu/product/plan.h"

namespace hardbit::cpu {

/// Hands out pieces of a caller's memory, 64-byte aligned; with none it only counts.
class Arena {
 public:
  explicit Arena(std::byte* memory) : memory_(memory) {}
  template <class T>
  T* take(std::int64_t count) {
    auto* const piece = memory_ == nullptr ? nullptr : memory_ + taken_;
    taken_ += (static_cast<std::size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return reinterpret_cast<T*>(piece);
  }
  /// Whether pieces are only counted: none of them may be touched.
  bool counts() const { return memory_ == nullptr; }
  std::size_t taken() const { return taken_; }

 private:
  std::byte* memory_;
  std::size_t taken_ = 0;
};

/// Makes rows of images for windows to be read from:
///  - direct: a row with its padding, [planes][left + w + right][pixel];
///  - patches: the windows of one kernel row at every output column, cut from a tight string of the row's
///    bits, [groups][planes][ow][window].
class InputRows {
 public:
  InputRows(const ConvProduct::Plan& plan, const Images& x, Arena& arena);

  /// Row `y` of an image, which may lie outside.
  void make(std::int64_t image, std::int64_t y, std::uint8_t* row) const;

 private:
  void pad_pixels(std::int64_t count, std::uint8_t* pixels) const;
  void copy_pixels(const std::uint8_t* x, std::uint8_t* row) const;
  void make_strings(const std::uint8_t* x) const;
  void cut(std::uint8_t* windows) const;

  const ConvProduct::Plan& plan_;
  const Images& x_;
  std::uint64_t* string_;      // patches: [planes][string_words]
  std::int64_t string_words_;  // one more than hold it: read_word reads on
  std::uint8_t* codes_;        // patches of codes: a row with its padding
  std::uint64_t* pixels_;      // planes of a row of codes, [w][planes][words]
};

/// Puts the windows of `count` output columns from `column` on into patches: kernel row after kernel row, bit
/// after bit. `windows` is the first kernel row's, `patches` the first patch of a block.
void make_patches(const ConvProduct::Plan& plan, const std::uint8_t* windows, std::int64_t group,
                  std::int64_t column, std::int64_t count, std::int64_t first, std::uint8_t* patches);

}  // namespace hardbit::cpu
