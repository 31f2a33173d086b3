#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <optional>
#include <span>
#include <string_view>

#include "readers/check.h"
#include "runtime/error.h"

// What the fuzzers of the readers demand of every answer. Whatever else happens (another exception, a hang, a
// byte outside the file, undefined behaviour) stops them by itself.

namespace hardbit::fuzz {

inline void require(bool holds, const char* claim) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", claim);
  std::abort();
}

/// One printable line of UTF-8 that ends with a full stop, whatever the file holds.
inline void require_sentence(std::string_view text) {
  require(text.size() < 600 && text.ends_with('.'), "an error is one sentence");
  while (!text.empty()) {
    const std::size_t length = readers::utf8_length(text);
    require(length > 0, "an error is UTF-8");
    require(static_cast<std::uint8_t>(text.front()) >= 0x20 && text.front() != 0x7F, "an error is one line");
    text.remove_prefix(length);
  }
}

/// The reader's result; nothing where it refuses the file with one of the codes it documents.
template <class Read>
auto read_or_refuse(const Read& read, std::initializer_list<std::string_view> codes)
    -> std::optional<decltype(read())> {
  try {
    return read();
  } catch (const Error& error) {
    bool documented = false;
    for (const std::string_view code : codes) documented = documented || code == error.code();
    require(documented, "an error has a documented code");
    require_sentence(error.what());
    return std::nullopt;
  }
}

/// The elements lie in the file and fill the shape. Products in 128 bits: no reader may lean on an overflow.
template <class Header>
void require_placed(const Header& header, std::size_t file_size, std::uint64_t element_size) {
  require(header.offset <= file_size && header.length <= file_size - header.offset,
          "the elements lie in the file");
  bool empty = false;
  for (const std::uint64_t size : header.shape) {
    require(size <= readers::kMaxSafeInteger, "a dimension is a safe integer");
    empty = empty || size == 0;
  }
  unsigned __int128 bytes = empty ? 0 : element_size;
  for (const std::uint64_t size : header.shape) {
    bytes *= size;
    require(bytes <= file_size, "the elements fill the shape");
  }
  require(bytes == header.length, "the elements fill the shape");
}

}  // namespace hardbit::fuzz
