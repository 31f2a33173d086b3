#include "ops/discretize.h"

#include "cpu/discretize.h"
#include "cuda/discretize.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {

Tensor discretize(const Tensor& x, int bits) {
  check::dtype("discretize", "x", x, DType::f32);
  check::integer_between("discretize", "bits", bits, 1, 8);
  Tensor codes = Tensor::empty(DType::u8, x.shape(), x.device());
  dispatch<cpu::discretize, cuda::discretize>(x.device(), x.data<float>(), codes.data<std::uint8_t>(),
                                              x.count(), bits);
  return codes;
}

Tensor codes_to_float(const Tensor& codes, int bits) {
  check::dtype("codesToFloat", "codes", codes, DType::u8);
  check::integer_between("codesToFloat", "bits", bits, 1, 8);
  Tensor x = Tensor::empty(DType::f32, codes.shape(), codes.device());
  dispatch<cpu::codes_to_float, cuda::codes_to_float>(codes.device(), codes.data<std::uint8_t>(),
                                                      x.data<float>(), codes.count(), bits);
  return x;
}

}  // namespace hardbit::ops
