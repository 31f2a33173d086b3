#include "readers/check.h"

#include <algorithm>
#include <cstdio>

namespace hardbit::readers {
namespace {

/// Of a quotation, in bytes.
constexpr std::size_t kLongest = 100;

std::uint8_t byte(std::string_view text, std::size_t i) { return static_cast<std::uint8_t>(text[i]); }

}  // namespace

std::optional<std::uint64_t> byte_length(std::span<const std::uint64_t> shape, std::uint64_t element_size) {
  if (std::ranges::find(shape, 0U) != shape.end()) return 0;
  std::uint64_t bytes = element_size;
  for (const std::uint64_t size : shape) {
    if (bytes > kMaxSafeInteger / size) return std::nullopt;
    bytes *= size;
  }
  return bytes;
}

std::string list(std::span<const std::uint64_t> shape) {
  // No array has so many dimensions; a file may claim to.
  constexpr std::size_t kMost = 16;
  std::string text;
  for (std::size_t i = 0; i < std::min(shape.size(), kMost); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return shape.size() > kMost ? text + ", …" : text;
}

std::string bytes_in_words(std::optional<std::uint64_t> length) {
  return length ? std::to_string(*length) + " bytes" : "more than 2^53 bytes";
}

std::size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  const std::uint8_t first = byte(text, 0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xC2 && first <= 0xDF ? 2 : (first & 0xF0) == 0xE0 ? 3 : 4;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return 0;
  // The second byte's range shuts out overlong forms, surrogates and what lies beyond U+10FFFF.
  const std::uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const std::uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (byte(text, 1) < low || byte(text, 1) > high) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if ((byte(text, i) & 0xC0) != 0x80) return 0;
  }
  return length;
}

std::string quote(std::string_view text) {
  std::string quoted = "'";
  for (std::size_t i = 0; i < text.size();) {
    if (quoted.size() > kLongest) {
      quoted += "…";
      break;
    }
    const std::size_t length = utf8_length(text.substr(i));
    const std::string_view character = text.substr(i, std::max<std::size_t>(length, 1));
    const std::uint8_t first = byte(character, 0);
    char escape[8] = "";
    if (length == 0 || first < 0x20 || first == 0x7F) {
      std::snprintf(escape, sizeof escape, "\\x%02x", first);
    } else if (first == 0xC2 && byte(character, 1) < 0xA0) {
      std::snprintf(escape, sizeof escape, "\\x%02x", byte(character, 1));
    } else if (character == "\u2028" || character == "\u2029") {
      std::snprintf(escape, sizeof escape, "\\u20%02x", byte(character, 2) - 0x80);
    }
    if (escape[0] != '\0') {
      quoted += escape;
    } else {
      quoted += character;
    }
    i += character.size();
  }
  return quoted + "'";
}

}  // namespace hardbit::readers
