#pragma once
#include <cstddef>
#include <functional>

namespace hardbit::cuda::emulation {

/// Shared memory of a block, as Hopper has it.
inline constexpr std::size_t shared_memory_limit = 227 * 1024;

/// Runs `work` at once, or adds it to what this thread is recording.
void queue(std::function<void()> work);

}  // namespace hardbit::cuda::emulation
