#include "ops/bits.h"

#include "cpu/bits.h"
#include "cuda/bits.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {

Tensor pack_signs(const Tensor& x) {
  check::dtype("packSigns", "x", x, DType::f32);
  Tensor bits = Tensor::empty(DType::bits, x.shape(), x.device());
  dispatch<cpu::pack_signs, cuda::pack_signs>(x.device(), x.data<float>(), bits.data<std::uint64_t>(),
                                              x.rows(), x.columns());
  return bits;
}

Tensor unpack_signs(const Tensor& bits) {
  check::dtype("unpackSigns", "x", bits, DType::bits);
  Tensor x = Tensor::empty(DType::f32, bits.shape(), bits.device());
  dispatch<cpu::unpack_signs, cuda::unpack_signs>(bits.device(), bits.data<std::uint64_t>(), x.data<float>(),
                                                  bits.rows(), bits.columns());
  return x;
}

Tensor reshape_signs(const Tensor& bits, const Shape& shape) {
  check::dtype("reshapeSigns", "x", bits, DType::bits);
  const std::int64_t columns = shape.empty() ? 1 : shape.back();
  if (columns == bits.columns() || (columns % 64 == 0 && bits.columns() % 64 == 0)) {
    return bits.reshape(shape);
  }
  Tensor y = Tensor::empty(DType::bits, shape, bits.device());
  if (y.count() != bits.count()) {
    check::fail("ERR_HARDBIT_SHAPE", "reshapeSigns",
                "x has shape " + to_string(bits.shape()) + ", which cannot become " + to_string(shape) +
                    "; expected a shape with " + std::to_string(bits.count()) + " elements.");
  }
  if (y.count() == 0) return y;
  dispatch<cpu::repack_bits, cuda::repack_bits>(bits.device(), bits.data<std::uint64_t>(), bits.columns(),
                                                y.data<std::uint64_t>(), y.rows(), y.columns());
  return y;
}

}  // namespace hardbit::ops
