#pragma once
#include <cstdint>

namespace hardbit::test {

/// Whether this build counts: under a sanitizer, operator new is the sanitizer's.
bool counts_allocations();
/// Calls of operator new in this process so far, on all threads.
std::int64_t allocations();

}  // namespace hardbit::test
