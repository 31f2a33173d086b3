#pragma once
#include <cstdint>
#include <string>

#include "ops/conv2d.h"

namespace hardbit::cpu {

// All contact with oneDNN (2.x and 3.x).

/// "2.6.3"
std::string onednn_version();

/// Row-major C [m, n] = op(A) · op(B) + bias, op(A) [m, k], op(B) [k, n], bias [n] or null; `transpose_a`
/// means that A is stored [k, m]. Rows are dense. Any of m, n, k may be 0.
void matmul(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
            const float* a, const float* b, const float* bias, float* c);

/// This CPU multiplies bf16, and oneDNN makes use of it, or it has AVX-512 and HARDBIT_BF16=emulate asks for
/// the same roundings without the speed. Where neither is so, none of the functions of that name may be
/// called.
/// @throws ERR_HARDBIT_UNKNOWN_NAME for another value of HARDBIT_BF16
bool has_bf16();

/// matmul() without bias; both operands are rounded to bf16 (nearest, ties to even), sums are f32.
void matmul_bf16(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                 const float* a, const float* b, float* c);

// Convolutions as ops/conv2d.h has them, none of whose sizes is 0.

/// `bias` may be null.
void convolution_forward(const ops::Conv2d& conv, const float* x, const float* w, const float* bias,
                         float* y);
void convolution_backward_data(const ops::Conv2d& conv, const float* dy, const float* w, float* dx);
void convolution_backward_weights(const ops::Conv2d& conv, const float* dy, const float* x, float* dw);

/// The same of operands rounded to bf16 (nearest, ties to even), with sums in f32.
void convolution_backward_data_bf16(const ops::Conv2d& conv, const float* dy, const float* w, float* dx);
void convolution_backward_weights_bf16(const ops::Conv2d& conv, const float* dy, const float* x, float* dw);

}  // namespace hardbit::cpu
