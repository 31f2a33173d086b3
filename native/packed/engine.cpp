#include "packed/engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <type_traits>
#include <utility>

#include "ops/batch_norm.h"
#include "runtime/error.h"
#include "runtime/words.h"

namespace hardbit::packed {
namespace {

/// Activations of a chunk; half of the second-level cache of a small core.
constexpr std::size_t chunk_bytes = 512 * 1024;
constexpr std::int64_t most_images = 16;

std::size_t aligned(std::size_t bytes) {
  return (bytes + Buffer::alignment - 1) / Buffer::alignment * Buffer::alignment;
}

ops::Conv2d conv_of(const Layer& layer) {
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

std::vector<float> copied(const float* values, std::int64_t count) {
  return values == nullptr ? std::vector<float>() : std::vector<float>(values, values + count);
}

bool is_binary(const Layer& layer) { return layer.product == Layer::Product::binary; }
bool gives_signs(const Layer& layer) { return layer.result == Layer::Result::signs; }

/// v takes the place of best: it is larger, or the first NaN.
template <class T>
T larger(T best, T v) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(best)) return best;
  }
  return v <= best ? best : v;
}

/// The largest of each channel of a pooling window; `out` [channels].
template <class T>
void pool_pixel(const Layer& layer, const T* image, std::int64_t r, std::int64_t s, T* out) {
  const Image& in = layer.convolved;
  const auto& [kernel, stride, dilation, padding] = layer.pool;
  const std::int64_t top = r * stride[0] - padding[0];
  const std::int64_t left = s * stride[1] - padding[2];
  bool first = true;
  for (std::int64_t h = std::max<std::int64_t>(top, 0); h < std::min(top + kernel[0], in.height); ++h) {
    for (std::int64_t w = std::max<std::int64_t>(left, 0); w < std::min(left + kernel[1], in.width); ++w) {
      const T* const pixel = image + (h * in.width + w) * in.channels;
      if (first) {
        std::copy_n(pixel, in.channels, out);
        first = false;
        continue;
      }
      for (std::int64_t c = 0; c < in.channels; ++c) out[c] = larger(out[c], pixel[c]);
    }
  }
}

/// The largest; the first among equals, a NaN never, 0 where all are NaN.
std::int32_t largest(const float* logits, std::int64_t classes) {
  std::int64_t best = -1;
  for (std::int64_t c = 0; c < classes; ++c) {
    if (!std::isnan(logits[c]) && (best < 0 || logits[c] > logits[best])) best = c;
  }
  return static_cast<std::int32_t>(std::max<std::int64_t>(best, 0));
}

}  // namespace

EngineRows selected_engine_rows() { return {cpu::selected_product_rows(), cpu::selected_float()}; }

Engine::Engine(Network network, const EngineRows& rows)
    : network_(std::move(network)), elements_(&rows.products.elements) {
  if (!is_binary(network_.layers.front())) {
    const auto levels = static_cast<float>(network_.levels());
    for (int v = 0; v < 256; ++v) {
      pixel_reals_.push_back(static_cast<float>(network_.pixels[v]) / levels);
    }
  }
  pixel_codes_.assign(network_.pixels, network_.pixels + 256);
  for (Layer& layer : network_.layers) {
    const std::int64_t m = layer.out.channels;
    Stage stage{};
    place(stage, layer);
    if (is_binary(layer)) {
      const bool codes = layer.input == Layer::Input::codes;
      stage.binary.emplace(conv_of(layer),
                           layer.pads_with_one ? ops::PaddingValue::one : ops::PaddingValue::zero,
                           codes ? cpu::Input::codes : cpu::Input::signs, codes ? network_.bits : 1,
                           layer.signs, rows.products);
      if (gives_signs(layer)) {
        stage.thresholds = {*stage.binary, {layer.minimum, static_cast<std::size_t>(m)}};
        stage.pool.geometry = {
            .kernel = layer.pool.kernel, .stride = layer.pool.stride, .padding = layer.pool.padding};
        if (layer.all != nullptr) stage.all.assign(layer.all, layer.all + words(m));
      }
    } else {
      stage.real.emplace(conv_of(layer), layer.weights, layer.bias, rows.real);
    }
    stage.scale = copied(layer.scale, m);
    stage.mean = copied(layer.mean, m);
    stage.factor = copied(layer.factor, m);
    stage.beta = copied(layer.beta, m);
    layer.signs = layer.all = nullptr;
    layer.weights = layer.scale = layer.bias = layer.mean = layer.factor = layer.beta = nullptr;
    layer.minimum = nullptr;
    stages_.push_back(std::move(stage));
  }
  for (Stage& stage : stages_) stage.pool.all = stage.all.empty() ? nullptr : stage.all.data();
  network_.pixels = nullptr;
  network_.file = Buffer();

  const std::size_t image = std::max<std::size_t>(plan_arena(2) - plan_arena(1), 1);
  chunk_ = std::clamp(static_cast<std::int64_t>(chunk_bytes / image), std::int64_t{1}, most_images);
  arena_bytes_ = plan_arena(chunk_);
}

/// Where the pixels of a layer's input lie. Margins of neighbouring rows and images are the same memory.
void Engine::place(Stage& stage, const Layer& layer) const {
  const std::int64_t channels = layer.in.channels;
  const bool margins = is_binary(layer);  // float products bring their own
  const auto [above, below, left, right] = margins ? layer.window.padding : std::array<std::int64_t, 4>{};
  stage.pixel = layer.input == Layer::Input::codes && is_binary(layer) ? channels
                : layer.input == Layer::Input::signs                   ? words(channels) * 8
                                                                       : channels * 4;
  stage.row = (layer.in.width + std::max(left, right)) * stage.pixel;
  stage.image = (layer.in.height + std::max(above, below)) * stage.row;
  stage.first = above * stage.row + left * stage.pixel;
}

std::size_t Engine::input_bytes(std::size_t layer, std::int64_t count) const {
  const Stage& stage = stages_[layer];
  const auto [above, below, left, right] = is_binary(network_.layers[layer])
                                               ? network_.layers[layer].window.padding
                                               : std::array<std::int64_t, 4>{};
  return static_cast<std::size_t>(above * stage.row + left * stage.pixel + count * stage.image +
                                  below * stage.row + right * stage.pixel);
}

std::size_t Engine::plan_arena(std::int64_t count) {
  std::size_t inputs[2] = {};
  std::size_t sums = 0;
  std::size_t row = 0;
  std::size_t scratch = 0;
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    const Layer& layer = network_.layers[i];
    const Stage& stage = stages_[i];
    inputs[i % 2] = std::max(inputs[i % 2], input_bytes(i, count));
    if (stage.binary) {
      scratch = std::max({scratch, stage.binary->scratch_bytes(stage.pool), stage.binary->scratch_bytes()});
    } else {
      scratch = std::max(scratch, stage.real->scratch_bytes(count));
    }
    if (is_binary(layer) && gives_signs(layer)) continue;
    sums = std::max(sums, static_cast<std::size_t>(count * layer.convolved.values() * 4));
    // One pooled pixel stands behind the row.
    row = std::max(row, static_cast<std::size_t>((layer.out.width + 1) * layer.out.channels * 4));
  }
  inputs_[0] = 0;
  inputs_[1] = aligned(inputs[0]);
  sums_ = inputs_[1] + aligned(inputs[1]);
  row_ = sums_ + aligned(sums);
  scratch_ = row_ + aligned(row);
  return scratch_ + aligned(scratch);
}

std::size_t Engine::bytes() const {
  std::size_t bytes = 0;
  for (const Stage& stage : stages_) {
    bytes += stage.binary ? stage.binary->bytes() + stage.thresholds.bytes() : stage.real->bytes();
    bytes += stage.all.size() * 8;
    bytes += (stage.scale.size() + stage.mean.size() + stage.factor.size() + stage.beta.size()) * 4;
  }
  return bytes;
}

/// The codes of a binary first layer, or the reals of a float one, at the place of its input.
void Engine::fill_input(const std::uint8_t* images, std::int64_t count, std::uint8_t* to) const {
  const Image& image = network_.image;
  const std::int64_t row_values = image.width * image.channels;
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t h = 0; h < image.height; ++h) {
      std::uint8_t* const row = to + stages_[0].first + i * stages_[0].image + h * stages_[0].row;
      if (pixel_reals_.empty()) {
        for (std::int64_t v = 0; v < row_values; ++v) row[v] = pixel_codes_[images[v]];
      } else {
        auto* const reals = reinterpret_cast<float*>(row);
        for (std::int64_t v = 0; v < row_values; ++v) reals[v] = pixel_reals_[images[v]];
      }
      images += row_values;
    }
  }
}

/// Fills what lies around the images of a binary layer's input with what its padding stands for.
void Engine::fill_margins(std::size_t layer, std::int64_t count, std::uint8_t* input) const {
  const Layer& l = network_.layers[layer];
  if (!is_binary(l) || !l.window.pads()) return;
  const Stage& stage = stages_[layer];
  const std::ptrdiff_t row_bytes = l.in.width * stage.pixel;
  // From the end of each row of pixels to the beginning of the next one.
  std::uint8_t* at = input;
  const auto fill_to = [&](std::uint8_t* end) {
    fill_padding(layer, at, end);
    at = end + row_bytes;
  };
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t h = 0; h < l.in.height; ++h) {
      fill_to(input + stage.first + i * stage.image + h * stage.row);
    }
  }
  fill_padding(layer, at, input + input_bytes(layer, count));
}

/// Fills whole pixels of the padding.
void Engine::fill_padding(std::size_t layer, std::uint8_t* begin, std::uint8_t* end) const {
  const Layer& l = network_.layers[layer];
  const auto bytes = static_cast<std::size_t>(end - begin);
  if (!l.pads_with_one) {
    std::memset(begin, 0, bytes);
  } else if (l.input == Layer::Input::codes) {
    std::memset(begin, network_.levels(), bytes);
  } else {
    const std::int64_t pixel_words = words(l.in.channels);
    const std::uint64_t tail = ~std::uint64_t{0} >> (pixel_words * 64 - l.in.channels);
    for (; begin < end; begin += 8 * pixel_words) {
      std::memset(begin, 0xFF, static_cast<std::size_t>(8 * (pixel_words - 1)));
      std::memcpy(begin + 8 * (pixel_words - 1), &tail, 8);
    }
  }
}

cpu::Images Engine::input_images(std::size_t layer, const std::uint8_t* input) const {
  const Stage& stage = stages_[layer];
  return {.data = input + stage.first,
          .pixel = stage.pixel,
          .row = stage.row,
          .image = stage.image,
          .margin = network_.layers[layer].window.padding};
}

template <class T>
void Engine::finish(std::size_t layer, std::int64_t count, const T* sums, float* row,
                    std::uint8_t* to) const {
  const Layer& l = network_.layers[layer];
  const Stage& stage = stages_[layer];
  const std::int64_t m = l.out.channels;
  const std::int64_t row_values = l.out.width * m;
  auto* const pooled = reinterpret_cast<T*>(row + row_values);
  const bool last = layer + 1 == stages_.size();
  const std::ptrdiff_t first = last ? 0 : stages_[layer + 1].first;
  const std::ptrdiff_t row_pitch = last ? m * 4 : stages_[layer + 1].row;
  const std::ptrdiff_t image_pitch = last ? m * 4 : stages_[layer + 1].image;
  for (std::int64_t i = 0; i < count; ++i) {
    const T* const image = sums + i * l.convolved.values();
    for (std::int64_t r = 0; r < l.out.height; ++r) {
      std::uint8_t* const out = to + first + i * image_pitch + r * row_pitch;
      float* const y = gives_signs(l) ? row : reinterpret_cast<float*>(out);
      for (std::int64_t s = 0; s < l.out.width; ++s) {
        const T* n = image + (r * l.convolved.width + s) * m;
        if (l.pools()) {
          pool_pixel(l, image, r, s, pooled);
          n = pooled;
        }
        float* const z = y + s * m;
        for (std::int64_t c = 0; c < m; ++c) {
          if constexpr (std::is_same_v<T, float>) {
            z[c] = n[c];
          } else {
            z[c] = static_cast<float>(n[c]) * stage.scale[static_cast<std::size_t>(c)];
          }
        }
        if (l.batch_norm) {
          const float* const mean = stage.mean.data();
          const float* const factor = stage.factor.data();
          const float* const beta = stage.beta.data();
          for (std::int64_t c = 0; c < m; ++c) {
            z[c] = ops::batch_norm_value(z[c], mean[c], factor[c], beta[c]);
          }
        }
        if (l.relu) {
          for (std::int64_t c = 0; c < m; ++c) z[c] = z[c] < 0 ? 0.0F : z[c];
        }
      }
      if (gives_signs(l)) {
        elements_->pack_signs(row, l.out.width, m, reinterpret_cast<std::uint64_t*>(out));
      }
    }
  }
}

void Engine::run_layers(const std::uint8_t* images, std::int64_t count, std::size_t end, float* logits,
                        std::uint8_t* arena) const {
  fill_input(images, count, arena + inputs_[0]);
  auto* const scratch = reinterpret_cast<std::byte*>(arena + scratch_);
  auto* const row = reinterpret_cast<float*>(arena + row_);
  for (std::size_t i = 0; i < end; ++i) {
    const Layer& layer = network_.layers[i];
    const Stage& stage = stages_[i];
    std::uint8_t* const in = arena + inputs_[i % 2];
    std::uint8_t* const to =
        i + 1 == stages_.size() ? reinterpret_cast<std::uint8_t*>(logits) : arena + inputs_[(i + 1) % 2];
    if (!is_binary(layer)) {
      auto* const sums = reinterpret_cast<float*>(arena + sums_);
      stage.real->run(reinterpret_cast<const float*>(in), count, sums, scratch);
      finish(i, count, sums, row, to);
      continue;
    }
    fill_margins(i, count, in);
    const cpu::Images x = input_images(i, in);
    const Image& convolved = layer.convolved;
    if (gives_signs(layer)) {
      const Stage& next = stages_[i + 1];
      stage.binary->run(x, {0, count * layer.out.height}, stage.thresholds, stage.pool,
                        {to + next.first, next.pixel, next.row, next.image}, scratch);
    } else {
      auto* const sums = reinterpret_cast<std::int32_t*>(arena + sums_);
      const std::int64_t m = convolved.channels;
      stage.binary->run(x, {0, count * convolved.height},
                        cpu::Target<std::int32_t>{sums, m, convolved.width * m, convolved.values()}, scratch);
      finish(i, count, sums, row, to);
    }
  }
}

void Engine::run(const std::uint8_t* images, std::int64_t count, float* logits, std::int32_t* classes,
                 Arena arena) const noexcept {
  run_layers(images, count, stages_.size(), logits, arena.data());
  for (std::int64_t i = 0; i < count; ++i) {
    classes[i] = largest(logits + i * network_.classes, network_.classes);
  }
}

const Layer& Engine::checked(std::size_t layer, Layer::Product product) const {
  if (layer >= network_.layers.size() || network_.layers[layer].product != product) {
    throw Error("ERR_HARDBIT_ARGUMENT", "Layer " + std::to_string(layer) + " is not a " +
                                            (product == Layer::Product::binary ? "binary" : "float") +
                                            " product of this network.");
  }
  return network_.layers[layer];
}

std::vector<std::int32_t> Engine::integers(const std::uint8_t* image, std::size_t layer) const {
  const Image& convolved = checked(layer, Layer::Product::binary).convolved;
  const Buffer arena(arena_bytes_);
  run_layers(image, 1, layer, nullptr, arena.data());
  std::uint8_t* const in = arena.data() + inputs_[layer % 2];
  fill_margins(layer, 1, in);
  std::vector<std::int32_t> sums(static_cast<std::size_t>(convolved.values()));
  const std::int64_t m = convolved.channels;
  stages_[layer].binary->run(
      input_images(layer, in), {0, convolved.height},
      cpu::Target<std::int32_t>{sums.data(), m, convolved.width * m, convolved.values()},
      reinterpret_cast<std::byte*>(arena.data() + scratch_));
  return sums;
}

std::vector<float> Engine::reals(const std::uint8_t* image, std::size_t layer) const {
  const Image& convolved = checked(layer, Layer::Product::real).convolved;
  const Buffer arena(arena_bytes_);
  run_layers(image, 1, layer, nullptr, arena.data());
  std::vector<float> sums(static_cast<std::size_t>(convolved.values()));
  stages_[layer].real->run(reinterpret_cast<const float*>(arena.data() + inputs_[layer % 2]), 1, sums.data(),
                           reinterpret_cast<std::byte*>(arena.data() + scratch_));
  return sums;
}

std::shared_ptr<const Engine> shared_engine(Network network) {
  static std::mutex mutex;
  static std::map<Digest, std::weak_ptr<const Engine>> engines;
  // Held while an engine is made, so that workers that load one file at once make one.
  const std::lock_guard lock(mutex);
  std::erase_if(engines, [](const auto& entry) { return entry.second.expired(); });
  const Digest hash = network.hash;
  if (const auto known = engines.find(hash); known != engines.end()) {
    if (auto engine = known->second.lock()) return engine;
  }
  auto engine = std::make_shared<const Engine>(std::move(network));
  engines.insert_or_assign(hash, engine);
  return engine;
}

}  // namespace hardbit::packed
