#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

/// What the readers of untrusted files share. A reader is a pure function over a file's bytes: it copies no
/// data, keeps no more than the file's header says in its own bytes, and answers anything but a sound file
/// with a coded Error of one sentence.
namespace hardbit::readers {

/// The largest integer that JavaScript holds exactly, 2^53 − 1: no size and no offset may be larger.
constexpr std::uint64_t kMaxSafeInteger = 9007199254740991;

/// Bytes of an array; nothing where they are more than `kMaxSafeInteger`. An array with a dimension of 0 has
/// none, however large the others are.
std::optional<std::uint64_t> byte_length(std::span<const std::uint64_t> shape, std::uint64_t element_size);

/// "3, 4"
std::string list(std::span<const std::uint64_t> shape);

/// `length` bytes as words: "12 bytes", or that they are too many to count.
std::string bytes_in_words(std::optional<std::uint64_t> length);

/// Length in bytes of the well-formed UTF-8 sequence (Unicode, table 3-7) that `text` begins with; 0 where it
/// begins with none.
std::size_t utf8_length(std::string_view text);

/// Text out of a file, quoted for a sentence: cut where it is long; control characters, line separators and
/// bytes that are no UTF-8 are written as \x1b or \u2028.
std::string quote(std::string_view text);

}  // namespace hardbit::readers
