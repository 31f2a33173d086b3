#include "ops/bits.h"

#include "cpu/bits.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {

Tensor pack_signs(const Tensor& x) {
  check::dtype("packSigns", "x", x, DType::f32);
  Tensor bits = Tensor::empty(DType::bits, x.shape(), x.device());
  dispatch(x.device(),
           [&] { cpu::pack_signs(x.data<float>(), bits.data<std::uint64_t>(), x.rows(), x.columns()); });
  return bits;
}

Tensor unpack_signs(const Tensor& bits) {
  check::dtype("unpackSigns", "x", bits, DType::bits);
  Tensor x = Tensor::empty(DType::f32, bits.shape(), bits.device());
  dispatch(bits.device(), [&] {
    cpu::unpack_signs(bits.data<std::uint64_t>(), x.data<float>(), bits.rows(), bits.columns());
  });
  return x;
}

}  // namespace hardbit::ops
