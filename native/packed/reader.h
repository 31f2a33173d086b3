#pragma once
#include <cstdint>
#include <span>
#include <string>

#include "packed/network.h"

namespace hardbit::packed {

inline constexpr std::uint32_t format_version = 1;

/// Reads a `.hbit` file of docs/hbit.md. The bytes are copied before they are checked, so whoever owns them
/// may change them meanwhile.
///
/// @param what the file's name, for the sentences
/// Throws ERR_HARDBIT_FORMAT where anything is not as the format demands.
Network read_network(std::span<const std::uint8_t> file, const std::string& what);

/// The same of bytes that belong to nobody else.
Network read_network(Buffer file, const std::string& what);

/// Reads the file at `path`: besides, ERR_HARDBIT_READ where it cannot be read.
Network read_network_file(const std::string& path);

/// Writes the checksum that the rest of a file demands: for tests, which damage files behind it.
void repair_checksum(std::span<std::uint8_t> file);

}  // namespace hardbit::packed
