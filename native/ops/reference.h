#pragma once
#include "ops/binary_conv2d.h"
#include "runtime/tensor.h"

/// The operators of bits.h, discretize.h, sign.h, binary_matmul.h and binary_conv2d.h as scalar loops over
/// single elements: the oracle of the tests. Arguments, results and errors are those of hardbit::ops.
namespace hardbit::ops::reference {

/// Element (row, column) of a bits tensor: true for +1.
bool bit(const Tensor& bits, std::int64_t row, std::int64_t column);

Tensor pack_signs(const Tensor& x);
Tensor unpack_signs(const Tensor& bits);
/// 1 where |x| ≤ 1.
Tensor pack_mask(const Tensor& x);
Tensor mask_backward(const Tensor& dy, const Tensor& mask);
Tensor approx_sign_backward(const Tensor& dy, const Tensor& x);
Tensor discretize(const Tensor& x, int bits);
Tensor codes_to_float(const Tensor& codes, int bits);
Tensor binary_matmul(const Tensor& a, const Tensor& w);
Tensor codes_matmul(const Tensor& codes, int bits, const Tensor& w);
Tensor binary_conv2d(const Tensor& x, const Tensor& w, const Pair& kernel, const Conv2dGeometry& geometry,
                     PaddingValue padding);
Tensor codes_conv2d(const Tensor& codes, int bits, const Tensor& w, const Pair& kernel,
                    const Conv2dGeometry& geometry, PaddingValue padding);

}  // namespace hardbit::ops::reference
