#pragma once
#include <cstdint>
#include <cstring>

namespace hardbit::cpu {

inline std::uint64_t low_bits(std::int64_t n) {
  return n >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
}

/// 64 bits from bit `at` on; always reads two words.
inline std::uint64_t read_word(const std::uint64_t* bits, std::int64_t at) {
  const auto place = static_cast<std::uint64_t>(at);
  const std::uint64_t* const p = bits + place / 64;
  const auto shift = static_cast<int>(place % 64);
  return p[0] >> shift | p[1] << 1 << (63 - shift);
}

/// Bits [at, at + n) of a string, n ≤ 64, reading no word that holds none of them; what lies above them is
/// anything.
inline std::uint64_t read_bits(const std::uint64_t* bits, std::int64_t at, std::int64_t n) {
  const std::int64_t word = at / 64;
  const auto shift = static_cast<int>(at % 64);
  std::uint64_t value = bits[word] >> shift;
  if (shift + n > 64) value |= bits[word + 1] << (64 - shift);
  return value;
}

/// Writes a string of bits word by word.
class BitWriter {
 public:
  explicit BitWriter(std::uint64_t* out) : out_(out) {}

  /// The low `n` ≤ 64 bits of `value`, whose others are 0.
  void append(std::uint64_t value, int n) {
    word_ |= value << filled_;
    if (filled_ + n < 64) {
      filled_ += n;
      return;
    }
    *out_++ = word_;
    word_ = filled_ == 0 ? 0 : value >> (64 - filled_);
    filled_ += n - 64;
  }
  /// Bits [at, at + n) of a string, of which one word more is read than holds them.
  void copy(const std::uint64_t* bits, std::int64_t at, std::int64_t n) {
    for (; n > 64; n -= 64, at += 64) append(read_word(bits, at), 64);
    if (n > 0) append(read_word(bits, at) & low_bits(n), static_cast<int>(n));
  }
  /// `n` equal bits, all those of `word`.
  void fill(std::uint64_t word, std::int64_t n) {
    for (; n > 64; n -= 64) append(word, 64);
    if (n > 0) append(word & low_bits(n), static_cast<int>(n));
  }
  /// The last word, the rest of it 0.
  void finish() {
    if (filled_ > 0) *out_ = word_;
  }

 private:
  std::uint64_t* out_;
  std::uint64_t word_ = 0;
  int filled_ = 0;
};

/// Calls take(64 bits or the rest, how many) over bits [at, at + n) of a string, reading no word that holds
/// none of them.
template <class Take>
void for_words(const std::uint64_t* bits, std::int64_t at, std::int64_t n, const Take& take) {
  while (n > 0) {
    const std::int64_t shift = at % 64;
    const std::int64_t here = n < 64 - shift ? n : 64 - shift;
    take(bits[at / 64] >> shift & low_bits(here), static_cast<int>(here));
    at += here;
    n -= here;
  }
}

}  // namespace hardbit::cpu
