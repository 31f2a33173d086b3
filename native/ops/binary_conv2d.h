#pragma once
#include <optional>

#include "ops/conv2d.h"
#include "ops/pool2d.h"

namespace hardbit::ops {

/// x bits [N, H, W, C] of ±1 convolved with w bits [M, KH·KW·(C / groups)] of ±1, each row in the order kh,
/// kw, c: [N, OH, OW, M], i16 where KH·KW·(C / groups) ≤ 32767, else i32. Geometry and errors as in
/// ops/conv2d.h.
Tensor binary_conv2d(const Tensor& x, const Tensor& w, const Pair& kernel, const Conv2dGeometry& geometry,
                     PaddingValue padding);

/// The same for codes u8 [N, H, W, C] below 2^bits: i16 where KH·KW·(C / groups)·(2^bits − 1) ≤ 32767, else
/// i32. A larger code or bits outside 1 … 8: ERR_HARDBIT_ARGUMENT.
Tensor codes_conv2d(const Tensor& codes, int bits, const Tensor& w, const Pair& kernel,
                    const Conv2dGeometry& geometry, PaddingValue padding);

/// Either of the two (codes where `bits` is given), and the largest of each window of its result.
MaxPooled binary_conv2d_pool(const Tensor& x, std::optional<int> bits, const Tensor& w, const Pair& kernel,
                             const Conv2dGeometry& geometry, PaddingValue padding, const Pool2dGeometry& pool,
                             bool with_index);

/// The operands of the two, checked: what an implementation may rely on.
struct BinaryConv2d {
  Conv2d conv;
  /// Of the result: the smaller of i16 and i32 that holds ±K·(2^bits − 1).
  DType dtype;
  Shape shape() const { return {conv.n, conv.oh, conv.ow, conv.m}; }
};
BinaryConv2d check_binary_conv2d(const char* op, const Tensor& x, const Tensor& w, const Pair& kernel,
                                 const Conv2dGeometry& geometry);
BinaryConv2d check_codes_conv2d(const char* op, const Tensor& codes, int bits, const Tensor& w,
                                const Pair& kernel, const Conv2dGeometry& geometry);

}  // namespace hardbit::ops
