#include "ops/rows.h"

#include <span>
#include <vector>

#include "cpu/rows.h"
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

}  // namespace

Tensor gather(const Tensor& x, const Tensor& indices) {
  has_rows("gather", "x", x);
  check::dtype("gather", "indices", indices, DType::i32);
  check::rank("gather", "indices", indices, 1, "[R]");
  are_rows("gather", indices.span<const std::int32_t>(), x);
  const Device device = common_device(x, indices);
  Tensor y = Tensor::empty(x.dtype(), with_rows(x, indices.dim(0)), device);
  dispatch(device, [&] {
    cpu::gather(x.data<std::byte>(), indices.data<std::int32_t>(), y.data<std::byte>(), indices.dim(0),
                row_bytes(x));
  });
  return y;
}

Tensor gather_images(const Tensor& x, const Tensor& indices) {
  constexpr const char* op = "gatherImagesAsync";
  check::dtype(op, "x", x, {DType::u8, DType::f32});
  check::rank_at_least(op, "x", x, 1);
  check::dtype(op, "indices", indices, DType::i32);
  check::rank(op, "indices", indices, 1, "[R]");
  const auto given = indices.span<const std::int32_t>();
  const std::vector<std::int32_t> rows(given.begin(), given.end());
  are_rows(op, rows, x);
  const Device device = common_device(x, indices);
  Tensor y = Tensor::empty(DType::f32, with_rows(x, indices.dim(0)), device);
  dispatch(device, [&] {
    const std::int64_t columns = x.dim(0) == 0 ? 0 : x.count() / x.dim(0);
    if (x.dtype() == DType::u8) {
      cpu::gather_images(x.data<const std::uint8_t>(), rows, y.data<float>(), columns);
    } else {
      cpu::gather_images(x.data<const float>(), rows, y.data<float>(), columns);
    }
  });
  return y;
}

Tensor concat(const Tensor& a, const Tensor& b) {
  has_rows("concat", "a", a);
  check::dtype("concat", "b", b, a.dtype());
  has_rows("concat", "b", b);
  check::shape("concat", "b", b, with_rows(a, b.dim(0)));
  const Device device = common_device(a, b);
  Tensor y = Tensor::empty(a.dtype(), with_rows(a, a.dim(0) + b.dim(0)), device);
  dispatch(device, [&] {
    const auto bytes = static_cast<std::int64_t>(a.byte_length());
    cpu::copy(a.data<std::byte>(), y.data<std::byte>(), bytes);
    cpu::copy(b.data<std::byte>(), y.data<std::byte>() + bytes, static_cast<std::int64_t>(b.byte_length()));
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
  dispatch(device, [&] {
    cpu::select_rows(mask.data<std::uint8_t>(), a.data<std::byte>(), b.data<std::byte>(), y.data<std::byte>(),
                     a.dim(0), row_bytes(a));
  });
  return y;
}

Tensor zero_rows(const Tensor& gradient) {
  check::dtype("zeroRows", "gradient", gradient, DType::f32);
  check::rank_at_least("zeroRows", "gradient", gradient, 1);
  Tensor zero = Tensor::empty(DType::u8, {gradient.dim(0)}, gradient.device());
  dispatch(gradient.device(), [&] {
    cpu::zero_rows(gradient.data<float>(), zero.data<std::uint8_t>(), gradient.dim(0),
                   row_bytes(gradient) / 4);
  });
  return zero;
}

}  // namespace hardbit::ops
