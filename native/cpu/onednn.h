#pragma once
#include <cstdint>
#include <string>

namespace hardbit::cpu {

// All contact with oneDNN (2.x and 3.x).

/// "2.6.3"
std::string onednn_version();

/// Row-major C [m, n] = op(A) · op(B) + bias, op(A) [m, k], op(B) [k, n], bias [n] or null; `transpose_a`
/// means that A is stored [k, m]. Rows are dense. Any of m, n, k may be 0.
void matmul(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
            const float* a, const float* b, const float* bias, float* c);

}  // namespace hardbit::cpu
