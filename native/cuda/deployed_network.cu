#include <cmath>

#include "cuda/binary_product.h"
#include "cuda/deployed_network.h"
#include "cuda/ordered_float.h"
#include "cuda/pack_bits.h"
#include "cuda/pool2d.h"
#include "ops/batch_norm.h"
#include "ops/check.h"

namespace hardbit::cuda {
namespace {

ops::Conv2d conv_of(const packed::Layer& layer) {
  return {.geometry = {.stride = layer.window.stride,
                       .dilation = layer.window.dilation,
                       .padding = layer.window.padding,
                       .groups = layer.groups},
          .n = 1,
          .h = layer.in.height,
          .w = layer.in.width,
          .c = layer.in.channels,
          .m = layer.convolved.channels,
          .kh = layer.window.kernel[0],
          .kw = layer.window.kernel[1],
          .oh = layer.convolved.height,
          .ow = layer.convolved.width};
}

/// An array of the file on the device; undefined where the layer has none.
template <class T>
Tensor copied(DType dtype, const T* values, Shape shape) {
  return values == nullptr ? Tensor() : Tensor::from_host(dtype, std::move(shape), values, Device::cuda);
}

const float* data(const Tensor& t) { return t.defined() ? t.data<const float>() : nullptr; }

/// What follows the sums of a layer that is not thresholds alone.
struct Finish {
  const float* scale;
  const float* mean;
  const float* factor;
  const float* beta;
  bool relu;

  template <class T>
  __device__ float operator()(T n, std::int64_t c) const {
    float z = static_cast<float>(n);
    if (scale != nullptr) z = z * scale[c];
    if (mean != nullptr) z = ops::batch_norm_value(z, mean[c], factor[c], beta[c]);
    return relu && z < 0 ? 0.0F : z;
  }
};

template <class T>
void finish_reals(const T* sums, Finish finish, float* y, std::int64_t rows, std::int64_t channels) {
  for_each_element(rows, channels, [=] __device__(std::int64_t, std::int64_t c, std::int64_t i) {
    y[i] = finish(sums[i], c);
  });
}

template <class T>
void finish_signs(const T* sums, Finish finish, std::uint64_t* signs, std::int64_t rows,
                  std::int64_t channels) {
  pack_bits<1>(
      rows, channels,
      [=] __device__(std::int64_t row, std::int64_t c) {
        return finish(sums[row * channels + c], c) >= 0.0F ? 1U : 0U;
      },
      signs);
}

template <class T>
void look_up(const std::uint8_t* images, const T* table, T* y, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) { y[i] = table[images[i]]; });
}

}  // namespace

struct DeployedNetwork::Stage {
  explicit Stage(const packed::Layer& layer, int bits)
      : conv(conv_of(layer)),
        in(layer.in),
        convolved(layer.convolved),
        out(layer.out),
        input(layer.input),
        signs(layer.result == packed::Layer::Result::signs),
        relu(layer.relu),
        pooling{.geometry = {.kernel = layer.pool.kernel,
                             .stride = layer.pool.stride,
                             .padding = layer.pool.padding},
                .images = 0,
                .height = layer.convolved.height,
                .width = layer.convolved.width,
                .channels = layer.convolved.channels,
                .out_height = layer.out.height,
                .out_width = layer.out.width},
        pools(layer.pools()) {
    const std::int64_t m = layer.out.channels;
    scale = copied(DType::f32, layer.scale, {m});
    mean = copied(DType::f32, layer.mean, {m});
    factor = copied(DType::f32, layer.factor, {m});
    beta = copied(DType::f32, layer.beta, {m});
    if (layer.product == packed::Layer::Product::real) {
      weights = copied(DType::f32, layer.weights, {m * layer.k});
      bias = copied(DType::f32, layer.bias, {m});
      return;
    }
    const Tensor w = copied(DType::bits, layer.signs, {m, layer.k});
    const bool codes = layer.input == packed::Layer::Input::codes;
    binary = std::make_unique<BinaryWeights>(
        BinaryLayer{.conv = conv,
                    .padding = layer.pads_with_one ? ops::PaddingValue::one : ops::PaddingValue::zero,
                    .codes = codes,
                    .bits = codes ? bits : 1},
        w.data<std::uint64_t>());
    minimum = copied(DType::i32, layer.minimum, {m});
    all = copied(DType::bits, layer.all, {m});
  }

  ops::Conv2d conv;
  packed::Image in, convolved, out;
  packed::Layer::Input input;
  bool signs;
  bool relu;
  ops::Pooling pooling;
  bool pools;
  std::unique_ptr<BinaryWeights> binary;
  Tensor weights, bias, minimum, all, scale, mean, factor, beta;
};

DeployedNetwork::DeployedNetwork(const packed::Network& network)
    : image_(network.image),
      classes_(network.classes),
      bits_(network.bits),
      real_input_(network.layers.front().product == packed::Layer::Product::real) {
  if (real_input_) {
    const auto levels = static_cast<float>(network.levels());
    std::vector<float> reals;
    for (int v = 0; v < 256; ++v) reals.push_back(static_cast<float>(network.pixels[v]) / levels);
    pixels_ = Tensor::from_host(DType::f32, {256}, reals.data(), Device::cuda);
  } else {
    pixels_ = Tensor::from_host(DType::u8, {256}, network.pixels, Device::cuda);
  }
  for (const packed::Layer& layer : network.layers) stages_.push_back(std::make_unique<Stage>(layer, bits_));
}

DeployedNetwork::~DeployedNetwork() = default;

std::size_t DeployedNetwork::bytes() const {
  std::size_t sum = 0;
  for (const auto& stage : stages_) {
    if (stage->binary) sum += stage->binary->bytes();
    for (const Tensor* const t : {&stage->weights, &stage->bias, &stage->minimum, &stage->all, &stage->scale,
                                  &stage->mean, &stage->factor, &stage->beta}) {
      if (t->defined()) sum += t->byte_length();
    }
  }
  return sum;
}

Tensor DeployedNetwork::first_input(const Tensor& images) const {
  const Tensor input = Tensor::empty(real_input_ ? DType::f32 : DType::u8, images.shape(), Device::cuda);
  const auto* const from = images.data<const std::uint8_t>();
  if (real_input_) {
    look_up(from, pixels_.data<const float>(), input.data<float>(), images.count());
  } else {
    look_up(from, pixels_.data<const std::uint8_t>(), input.data<std::uint8_t>(), images.count());
  }
  return input;
}

Tensor DeployedNetwork::run(const Stage& stage, const Tensor& input, std::int64_t count) const {
  const std::int64_t m = stage.out.channels;
  const Shape shape{count, stage.out.height, stage.out.width, m};
  const Tensor out = Tensor::empty(stage.signs ? DType::bits : DType::f32, shape, Device::cuda);
  if (stage.binary && stage.signs) {
    BinaryThresholds thresholds{.minimum = stage.minimum.data<const std::int32_t>()};
    if (stage.pools) {
      thresholds.pool = stage.pooling.geometry;
      thresholds.pooled = {stage.out.height, stage.out.width};
    }
    thresholds.all = stage.all.defined() ? stage.all.data<const std::uint64_t>() : nullptr;
    binary_layer(*stage.binary, count, input.raw(), thresholds, out.data<std::uint64_t>());
    return out;
  }
  const auto finish = [&]<class T>(const T* sums) {
    const Scratch<T> pooled(stage.pools ? count * stage.out.values() : 0);
    if (stage.pools) {
      ops::Pooling pooling = stage.pooling;
      pooling.images = count;
      max_pool2d(pooling, sums, pooled.data(), nullptr);
      sums = pooled.data();
    }
    const Finish how{data(stage.scale), data(stage.mean), data(stage.factor), data(stage.beta), stage.relu};
    const std::int64_t rows = count * stage.out.height * stage.out.width;
    if (stage.signs) {
      finish_signs(sums, how, out.data<std::uint64_t>(), rows, m);
    } else {
      finish_reals(sums, how, out.data<float>(), rows, m);
    }
  };
  if (stage.binary) {
    const Scratch<std::int32_t> sums(count * stage.convolved.values());
    binary_sums(*stage.binary, count, input.raw(), sums.data());
    finish(static_cast<const std::int32_t*>(sums.data()));
  } else {
    const Scratch<float> sums(count * stage.convolved.values());
    ops::Conv2d conv = stage.conv;
    conv.n = count;
    ordered_conv2d(conv, input.data<const float>(), stage.weights.data<const float>(), data(stage.bias),
                   sums.data());
    finish(static_cast<const float*>(sums.data()));
  }
  return out;
}

Tensor DeployedNetwork::logits(const Tensor& images) const {
  constexpr const char* op = "logits";
  ops::check::dtype(op, "images", images, DType::u8);
  ops::check::rank(op, "images", images, 4, "[N, H, W, C]");
  const std::int64_t count = images.dim(0);
  ops::check::shape(op, "images", images, {count, image_.height, image_.width, image_.channels});
  if (images.device() != Device::cuda) {
    ops::check::fail("ERR_HARDBIT_ARGUMENT", op, "the images are on the cpu; copy them to cuda first.");
  }
  if (count == 0) return Tensor::zeros(DType::f32, {0, classes_}, Device::cuda);
  Tensor x = first_input(images);
  for (const auto& stage : stages_) x = run(*stage, x, count);
  return x.reshape({count, classes_});
}

}  // namespace hardbit::cuda
