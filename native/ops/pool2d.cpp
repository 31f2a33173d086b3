#include "ops/pool2d.h"

#include <limits>
#include <string>

#include "cpu/pool2d.h"
#include "cuda/pool2d.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {
namespace {

constexpr std::int64_t most_places = 256;  // an index is a byte
constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t most_side = 1 << 30;  // places beside an image fit in 32 bits too

void check_geometry(const char* op, const Pool2dGeometry& g) {
  constexpr std::array<const char*, 2> axis = {"rows", "columns"};
  constexpr std::array<const char*, 4> side = {"above", "below", "left", "right"};
  for (std::size_t i = 0; i < 2; ++i) {
    check::integer_between(op, (std::string("kernel ") + axis[i]).c_str(), g.kernel[i], 1, most_places);
    check::integer_between(op, (std::string("stride ") + axis[i]).c_str(), g.stride[i], 1, most);
  }
  if (g.kernel[0] * g.kernel[1] > most_places) {
    check::fail("ERR_HARDBIT_ARGUMENT", op,
                "the kernel " + std::to_string(g.kernel[0]) + "×" + std::to_string(g.kernel[1]) + " has " +
                    std::to_string(g.kernel[0] * g.kernel[1]) + " places; expected at most 256.");
  }
  for (std::size_t i = 0; i < 4; ++i) {
    check::integer_between(op, (std::string("padding ") + side[i]).c_str(), g.padding[i], 0,
                           g.kernel[i / 2] - 1);
  }
}

}  // namespace

Pooling check_pooling(const char* op, const Pool2dGeometry& g, std::int64_t images, std::int64_t height,
                      std::int64_t width, std::int64_t channels) {
  check_geometry(op, g);
  if (height > most_side || width > most_side) {
    check::fail("ERR_HARDBIT_SHAPE", op,
                "images of " + std::to_string(height) + "×" + std::to_string(width) +
                    " pixels; expected at most 2^30 a side.");
  }
  const std::int64_t rows = height + g.padding[0] + g.padding[1] - g.kernel[0];
  const std::int64_t columns = width + g.padding[2] + g.padding[3] - g.kernel[1];
  if (height < 1 || width < 1 || rows < 0 || columns < 0) {
    check::fail("ERR_HARDBIT_SHAPE", op,
                "images of " + std::to_string(height) + "×" + std::to_string(width) +
                    " pixels do not hold a window of " + std::to_string(g.kernel[0]) + "×" +
                    std::to_string(g.kernel[1]) + "; expected a smaller kernel or larger images.");
  }
  return {g, images, height, width, channels, rows / g.stride[0] + 1, columns / g.stride[1] + 1};
}

namespace {

Pooling check_input(const char* op, const Tensor& x, const Pool2dGeometry& geometry) {
  check::rank(op, "x", x, 4, "[N, H, W, C]");
  return check_pooling(op, geometry, x.dim(0), x.dim(1), x.dim(2), x.dim(3));
}

Pooling check_gradient(const char* op, const Tensor& dy, const std::array<std::int64_t, 2>& size,
                       const Pool2dGeometry& geometry) {
  check::dtype(op, "dy", dy, DType::f32);
  check::rank(op, "dy", dy, 4, "[N, OH, OW, C]");
  check::integer_between(op, "size rows", size[0], 1, most);
  check::integer_between(op, "size columns", size[1], 1, most);
  const Pooling p = check_pooling(op, geometry, dy.dim(0), size[0], size[1], dy.dim(3));
  check::shape(op, "dy", dy, {p.images, p.out_height, p.out_width, p.channels});
  return p;
}

Shape out_shape(const Pooling& p) { return {p.images, p.out_height, p.out_width, p.channels}; }

}  // namespace

MaxPooled max_pool2d(const Tensor& x, const Pool2dGeometry& geometry, bool with_index) {
  constexpr const char* op = "maxPool2d";
  check::dtype(op, "x", x, {DType::f32, DType::i16, DType::i32, DType::bits});
  const Pooling p = check_input(op, x, geometry);
  MaxPooled out{Tensor::empty(x.dtype(), out_shape(p), x.device()), std::nullopt};
  if (with_index) out.index = Tensor::empty(DType::u8, out_shape(p), x.device());
  auto* const index = out.index ? out.index->data<std::uint8_t>() : nullptr;
  const auto pool = [&]<class T>(const T* values) {
    dispatch<cpu::max_pool2d<T>, cuda::max_pool2d<T>>(x.device(), p, values, out.y.data<T>(), index);
  };
  switch (x.dtype()) {
    case DType::i16:
      pool(x.data<const std::int16_t>());
      break;
    case DType::i32:
      pool(x.data<const std::int32_t>());
      break;
    case DType::bits:
      dispatch<cpu::max_pool2d_bits, cuda::max_pool2d_bits>(x.device(), p, x.data<std::uint64_t>(),
                                                            out.y.data<std::uint64_t>(), index);
      break;
    default:
      pool(x.data<const float>());
  }
  return out;
}

Pooling check_max_pooled(const char* op, const Tensor& dy, const MaxPooling& pooling,
                         const std::array<std::int64_t, 2>& size) {
  const Pooling p = check_gradient(op, dy, size, pooling.geometry);
  check::dtype(op, "index", pooling.index, DType::u8);
  check::shape(op, "index", pooling.index, dy.shape());
  return p;
}

void check_places(const char* op, const MaxPooling& pooling) {
  const auto& [geometry, index] = pooling;
  if (index.device() != Device::cpu || index.count() == 0) return;
  const int place = cpu::largest_place(index.data<std::uint8_t>(), index.count());
  const std::int64_t places = geometry.kernel[0] * geometry.kernel[1];
  if (place < places) return;
  check::fail("ERR_HARDBIT_ARGUMENT", op,
              "index holds the place " + std::to_string(place) + " of a window with " +
                  std::to_string(places) +
                  " places; expected the index that maxPool2d gave for this geometry.");
}

Tensor max_pool2d_backward(const Tensor& dy, const Tensor& index, const std::array<std::int64_t, 2>& size,
                           const Pool2dGeometry& geometry) {
  constexpr const char* op = "maxPool2dBackward";
  const Pooling p = check_max_pooled(op, dy, {geometry, index}, size);
  const Device device = common_device(dy, index);
  const MaxPooling pooling{geometry, index};
  check_places(op, pooling);
  Tensor dx = Tensor::empty(DType::f32, {p.images, p.height, p.width, p.channels}, device);
  dispatch<cpu::max_pool2d_backward, cuda::max_pool2d_backward>(device, p, dy.data<float>(),
                                                                index.data<std::uint8_t>(), dx.data<float>());
  return dx;
}

Tensor pool_signs(const Tensor& x, const Pool2dGeometry& geometry, const Tensor& all) {
  constexpr const char* op = "poolSigns";
  check::dtype(op, "x", x, DType::bits);
  const Pooling p = check_input(op, x, geometry);
  check::dtype(op, "and", all, DType::bits);
  check::shape(op, "and", all, {p.channels});
  const Device device = common_device(x, all);
  Tensor y = Tensor::empty(DType::bits, out_shape(p), device);
  dispatch<cpu::pool_signs, cuda::pool_signs>(device, p, x.data<std::uint64_t>(), all.data<std::uint64_t>(),
                                              y.data<std::uint64_t>());
  return y;
}

Tensor avg_pool2d(const Tensor& x, const Pool2dGeometry& geometry) {
  constexpr const char* op = "avgPool2d";
  check::dtype(op, "x", x, DType::f32);
  const Pooling p = check_input(op, x, geometry);
  Tensor y = Tensor::empty(DType::f32, out_shape(p), x.device());
  dispatch<cpu::avg_pool2d, cuda::avg_pool2d>(x.device(), p, x.data<float>(), y.data<float>());
  return y;
}

Tensor avg_pool2d_backward(const Tensor& dy, const std::array<std::int64_t, 2>& size,
                           const Pool2dGeometry& geometry) {
  const Pooling p = check_gradient("avgPool2dBackward", dy, size, geometry);
  Tensor dx = Tensor::empty(DType::f32, {p.images, p.height, p.width, p.channels}, dy.device());
  dispatch<cpu::avg_pool2d_backward, cuda::avg_pool2d_backward>(dy.device(), p, dy.data<float>(),
                                                                dx.data<float>());
  return dx;
}

}  // namespace hardbit::ops
