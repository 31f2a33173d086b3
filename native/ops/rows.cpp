#include "ops/rows.h"

#include <span>
#include <string>

#include "cpu/rows.h"
#include "cuda/rows.h"
#include "cuda/runtime.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {
namespace {

void has_rows(const char* op, const char* what, const Tensor& t) {
  check::rank_at_least(op, what, t, t.dtype() == DType::bits ? 2 : 1);
}

Shape with_rows(const Tensor& t, std::int64_t rows) {
  Shape shape = t.shape();
  shape[0] = rows;
  return shape;
}

/// Bytes of one row along the first dimension; 0 where there is none.
std::int64_t row_bytes(const Tensor& t) {
  return t.dim(0) == 0 ? 0 : static_cast<std::int64_t>(t.byte_length()) / t.dim(0);
}

void are_rows(const char* op, std::span<const std::int32_t> indices, const Tensor& x) {
  for (const std::int32_t i : indices) {
    if (i < 0 || i >= x.dim(0)) {
      check::fail("ERR_HARDBIT_ARGUMENT", op,
                  "the index " + std::to_string(i) + " is outside the rows [0, " + std::to_string(x.dim(0)) +
                      ") of x.");
    }
  }
}

/// Indices on the device of x, those of the cpu checked. Nobody else writes to them meanwhile.
Tensor rows_for(const char* op, const Tensor& x, const Tensor& indices) {
  if (indices.device() == Device::cpu) {
    are_rows(op, indices.span<const std::int32_t>(), x);
    return indices.to(x.device());
  }
  common_device(x, indices);
  if (x.dim(0) == 0 && indices.dim(0) > 0) {
    check::fail("ERR_HARDBIT_ARGUMENT", op, "x has no rows, and there are indices.");
  }
  return indices;
}

}  // namespace

Tensor gather(const Tensor& x, const Tensor& indices) {
  has_rows("gather", "x", x);
  check::dtype("gather", "indices", indices, DType::i32);
  check::rank("gather", "indices", indices, 1, "[R]");
  const Tensor rows = rows_for("gather", x, indices);
  Tensor y = Tensor::empty(x.dtype(), with_rows(x, rows.dim(0)), x.device());
  dispatch(
      x.device(),
      [&] {
        cpu::gather(x.data<std::byte>(), rows.data<std::int32_t>(), y.data<std::byte>(), rows.dim(0),
                    row_bytes(x));
      },
      [&] {
        cuda::gather(x.data<std::byte>(), x.dim(0), rows.data<std::int32_t>(), y.data<std::byte>(),
                     rows.dim(0), row_bytes(x));
      });
  return y;
}

Tensor gather_images(const Tensor& x, const Tensor& indices) {
  constexpr const char* op = "gatherImagesAsync";
  check::dtype(op, "x", x, {DType::u8, DType::f32});
  check::rank_at_least(op, "x", x, 1);
  check::dtype(op, "indices", indices, DType::i32);
  check::rank(op, "indices", indices, 1, "[R]");
  // A copy, which nobody writes to between its check and its use.
  const Tensor own = indices.device() == Device::cpu ? indices.clone() : indices;
  const Tensor rows = rows_for(op, x, own);
  Tensor y = Tensor::empty(DType::f32, with_rows(x, rows.dim(0)), x.device());
  const std::int64_t columns = x.dim(0) == 0 ? 0 : x.count() / x.dim(0);
  const auto run = [&]<class T>(const T* images) {
    dispatch(
        x.device(),
        [&] { cpu::gather_images(images, rows.span<const std::int32_t>(), y.data<float>(), columns); },
        [&] {
          cuda::gather_images(images, x.dim(0), rows.data<const std::int32_t>(), y.data<float>(), rows.dim(0),
                              columns);
        });
  };
  x.dtype() == DType::u8 ? run(x.data<const std::uint8_t>()) : run(x.data<const float>());
  return y;
}

Tensor concat(const Tensor& a, const Tensor& b) {
  has_rows("concat", "a", a);
  check::dtype("concat", "b", b, a.dtype());
  has_rows("concat", "b", b);
  check::shape("concat", "b", b, with_rows(a, b.dim(0)));
  const Device device = common_device(a, b);
  Tensor y = Tensor::empty(a.dtype(), with_rows(a, a.dim(0) + b.dim(0)), device);
  auto* const behind = y.data<std::byte>() + a.byte_length();
  dispatch(
      device,
      [&] {
        cpu::copy(a.data<std::byte>(), y.data<std::byte>(), static_cast<std::int64_t>(a.byte_length()));
        cpu::copy(b.data<std::byte>(), behind, static_cast<std::int64_t>(b.byte_length()));
      },
      [&] {
        cuda::copy(y.raw(), a.raw(), a.byte_length());
        cuda::copy(behind, b.raw(), b.byte_length());
      });
  return y;
}

Tensor select_rows(const Tensor& mask, const Tensor& a, const Tensor& b) {
  has_rows("selectRows", "a", a);
  check::dtype("selectRows", "b", b, a.dtype());
  check::shape("selectRows", "b", b, a.shape());
  check::dtype("selectRows", "mask", mask, DType::u8);
  check::shape("selectRows", "mask", mask, {a.dim(0)});
  const Device device = common_device(mask, a, b);
  Tensor y = Tensor::empty(a.dtype(), a.shape(), device);
  dispatch<cpu::select_rows, cuda::select_rows>(device, mask.data<std::uint8_t>(), a.data<std::byte>(),
                                                b.data<std::byte>(), y.data<std::byte>(), a.dim(0),
                                                row_bytes(a));
  return y;
}

Tensor zero_rows(const Tensor& gradient) {
  check::dtype("zeroRows", "gradient", gradient, DType::f32);
  check::rank_at_least("zeroRows", "gradient", gradient, 1);
  Tensor zero = Tensor::empty(DType::u8, {gradient.dim(0)}, gradient.device());
  dispatch<cpu::zero_rows, cuda::zero_rows>(gradient.device(), gradient.data<float>(),
                                            zero.data<std::uint8_t>(), gradient.dim(0),
                                            row_bytes(gradient) / 4);
  return zero;
}

}  // namespace hardbit::ops
