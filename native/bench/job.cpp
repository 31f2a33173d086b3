#include "bench/job.h"

#include <chrono>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "cpu/product/choice.h"
#include "cpu/product/conv_product.h"
#include "runtime/error.h"
#include "runtime/threads.h"
#include "runtime/words.h"

namespace hardbit::bench {
namespace {

using cpu::FloatKernel;
using cpu::Limit;
using cpu::ProductKernel;

/// Calls body(thread) on `count` threads at once.
template <class Body>
void on_threads(int count, const Body& body) {
#pragma omp parallel for num_threads(count) schedule(static, 1)
  for (int thread = 0; thread < count; ++thread) body(thread);
}

std::vector<std::uint8_t> random_bytes(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::uint8_t> bytes(count);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
  return bytes;
}

// -- limits

class LimitJob final : public Job {
 public:
  explicit LimitJob(const Limit& limit) : limit_(limit), results_(static_cast<std::size_t>(threads())) {
    kernel_ = limit.name;
  }
  void run(std::int64_t times) override {
    on_threads(static_cast<int>(results_.size()), [&](int thread) {
      // Kept, so that no compiler finds the loop to be of no use.
      results_[static_cast<std::size_t>(thread)] = limit_.run(times);
    });
  }

 private:
  Limit limit_;
  std::vector<std::uint64_t> results_;
};

// -- micro-kernels

/// The operands of one thread: windows of one segment, one row behind the other, and packed weights.
template <class Kernel, class Word>
struct Operands {
  Operands(const Kernel& kernel, std::int64_t words, int planes)
      : x(random_bytes(static_cast<std::size_t>(kernel.mr * planes * words * 4), 1)) {
    std::vector<Word> weights(static_cast<std::size_t>(kernel.nr * words));
    const std::vector<std::uint8_t> bytes = random_bytes(weights.size() * 4, 2);
    if constexpr (std::is_same_v<Word, float>) {
      // Products of ordinary size: others, infinite or denormal, take other times.
      for (std::size_t i = 0; i < weights.size(); ++i)
        weights[i] = static_cast<float>(bytes[i]) / 256.0F - 0.5F;
      for (std::size_t i = 0; i < x.size(); i += 4) {
        const float value = static_cast<float>(x[i]) / 256.0F;
        std::memcpy(x.data() + i, &value, sizeof value);
      }
    } else {
      std::memcpy(weights.data(), bytes.data(), bytes.size());
      if (kernel.operand == cpu::Operand::bytes) {
        // ±1, whose neighbouring products fit 16 bits.
        for (Word& word : weights) word = ones_of(word);
      }
    }
    packed = cpu::PlanMemory(kernel.packed_bytes(kernel.nr, words));
    kernel.pack(weights.data(), kernel.nr, words, reinterpret_cast<Word*>(packed.data()));
    for (int r = 0; r < kernel.mr; ++r) rows.push_back(x.data() + r * planes * words * 4);
  }

  /// A byte of +1 or −1 for each byte of the word, by its lowest bit.
  static std::uint32_t ones_of(std::uint32_t word) {
    std::uint32_t signs = 0;
    for (int shift = 0; shift < 32; shift += 8) signs |= ((word >> shift & 1U) != 0 ? 0x01U : 0xFFU) << shift;
    return signs;
  }

  std::vector<std::uint8_t> x;
  std::vector<const std::uint8_t*> rows;
  cpu::PlanMemory packed;
};

void check_k(std::int64_t k, std::int64_t a_word) {
  if (k < 1 || k > 1 << 20 || k % a_word != 0) {
    throw Error("ERR_HARDBIT_ARGUMENT", "The inner dimension is " + std::to_string(k) +
                                            "; expected a multiple of " + std::to_string(a_word) +
                                            " from there to 2^20.");
  }
}

class ProductKernelJob final : public Job {
 public:
  ProductKernelJob(const ProductKernel& kernel, std::int64_t words, int planes)
      : row_(kernel), words_(words), planes_(planes) {
    kernel_ = kernel.name;
    for (int i = 0; i < threads(); ++i) threads_.emplace_back(kernel, words, planes);
  }
  void run(std::int64_t times) override {
    on_threads(static_cast<int>(threads_.size()), [&](int thread) {
      OfThread& own = threads_[static_cast<std::size_t>(thread)];
      const std::ptrdiff_t none = 0;
      const cpu::ProductTile tile{.windows = {own.operands.rows.data(), &none, 1, words_},
                                  .planes = planes_,
                                  .plane_pitch = words_ * 4,
                                  .w = own.operands.packed.data(),
                                  .rows = row_.mr,
                                  .columns = row_.nr};
      const cpu::BitStore store{own.threshold_rows.data(), own.out_rows.data()};
      for (std::int64_t i = 0; i < times; ++i) row_.store_bits(tile, store);
    });
  }

 private:
  struct OfThread {
    OfThread(const ProductKernel& kernel, std::int64_t words, int planes)
        : operands(kernel, words, planes),
          thresholds(static_cast<std::size_t>(kernel.nr), static_cast<std::int32_t>(words * 16)),
          out(static_cast<std::size_t>(kernel.mr * 64)) {
      for (int r = 0; r < kernel.mr; ++r) {
        threshold_rows.push_back(thresholds.data());
        out_rows.push_back(out.data() + r * 64);
      }
    }
    Operands<ProductKernel, std::uint32_t> operands;
    std::vector<std::int32_t> thresholds;
    std::vector<std::uint8_t> out;
    std::vector<const std::int32_t*> threshold_rows;
    std::vector<std::uint8_t*> out_rows;
  };

  ProductKernel row_;
  std::int64_t words_;
  int planes_;
  std::vector<OfThread> threads_;
};

class FloatKernelJob final : public Job {
 public:
  FloatKernelJob(const FloatKernel& kernel, std::int64_t k) : row_(kernel), k_(k) {
    kernel_ = kernel.name;
    for (int i = 0; i < threads(); ++i) threads_.emplace_back(kernel, k);
  }
  void run(std::int64_t times) override {
    on_threads(static_cast<int>(threads_.size()), [&](int thread) {
      OfThread& own = threads_[static_cast<std::size_t>(thread)];
      const std::ptrdiff_t none = 0;
      const cpu::FloatTile tile{.windows = {own.operands.rows.data(), &none, 1, k_},
                                .w = reinterpret_cast<const float*>(own.operands.packed.data()),
                                .rows = row_.mr,
                                .columns = row_.nr,
                                .bias = own.bias.data(),
                                .out = own.out_rows.data()};
      for (std::int64_t i = 0; i < times; ++i) row_.run(tile);
    });
  }

 private:
  /// packed_bytes() of a float kernel counts bytes as a product kernel's does.
  struct OfThread {
    OfThread(const FloatKernel& kernel, std::int64_t k)
        : operands(kernel, k, 1),
          bias(static_cast<std::size_t>(kernel.nr)),
          out(static_cast<std::size_t>(kernel.mr * kernel.nr)) {
      for (int r = 0; r < kernel.mr; ++r) out_rows.push_back(out.data() + r * kernel.nr);
    }
    Operands<FloatKernel, float> operands;
    std::vector<float> bias;
    std::vector<float> out;
    std::vector<float*> out_rows;
  };

  FloatKernel row_;
  std::int64_t k_;
  std::vector<OfThread> threads_;
};

// -- binary layers

/// Zeroed images of bits NHWC, with margins of zero pixels, in whole words a pixel.
struct BitImages {
  BitImages(std::int64_t count, std::int64_t height, std::int64_t width, std::int64_t channels,
            std::int64_t edge)
      : margin(edge),
        pixel(words(channels) * 8),
        row((width + 2 * edge) * pixel),
        image((height + 2 * edge) * row),
        bytes(static_cast<std::size_t>(count * image)) {}
  std::uint8_t* first() { return bytes.data() + margin * (row + pixel); }
  std::int64_t margin;
  std::ptrdiff_t pixel;
  std::ptrdiff_t row;
  std::ptrdiff_t image;
  std::vector<std::uint8_t> bytes;
};

class BinaryLayerJob final : public Job {
 public:
  BinaryLayerJob(const Layer& layer, int bits, bool pool)
      : conv_(layer.conv()),
        product_(make(conv_, bits)),
        pool_(pool ? cpu::BitPool{.geometry = {.kernel = {2, 2}, .stride = {2, 2}, .padding = {}}}
                   : cpu::BitPool{}),
        size_(product_.pooled(pool_)),
        thresholds_(product_, minima()),
        input_(bits == 0 ? signs(layer) : codes(layer, bits)),
        output_(conv_.n, size_[0], size_[1], conv_.m, layer.padding),
        scratch_bytes_((product_.scratch_bytes(pool_) + 127) / 64 * 64) {
    kernel_ = product_.kernel().name;
    x_ = bits == 0 ? cpu::Images{.data = input_.first(),
                                 .pixel = input_.pixel,
                                 .row = input_.row,
                                 .image = input_.image,
                                 .plane = 0,
                                 .margin = {layer.padding, layer.padding, layer.padding, layer.padding}}
                   : cpu::Images{.data = input_.bytes.data(),
                                 .pixel = conv_.c,
                                 .row = conv_.w * conv_.c,
                                 .image = conv_.h * conv_.w * conv_.c,
                                 .plane = 0,
                                 .margin = {}};
    for (int i = 0; i < threads(); ++i) scratch_.emplace_back(scratch_bytes_);
  }

  void run(std::int64_t times) override {
    const std::int64_t rows = conv_.n * size_[0];
    const auto most = static_cast<std::int64_t>(scratch_.size());
    const int parts = static_cast<int>(rows < most ? rows : most);
    const cpu::Target<std::uint8_t> out{output_.first(), output_.pixel, output_.row, output_.image};
    for (std::int64_t i = 0; i < times; ++i) {
      on_threads(parts, [&](int part) {
        product_.run(x_, {.begin = rows * part / parts, .end = rows * (part + 1) / parts}, thresholds_, pool_,
                     out, scratch_[static_cast<std::size_t>(part)].data());
      });
    }
  }

 private:
  static cpu::ConvProduct make(const ops::Conv2d& conv, int bits) {
    const auto bytes = random_bytes(static_cast<std::size_t>(conv.m * words(conv.k()) * 8), 3);
    std::vector<std::uint64_t> weights(bytes.size() / 8);
    std::memcpy(weights.data(), bytes.data(), bytes.size());
    if (conv.k() % 64 != 0) {
      for (std::int64_t m = 0; m < conv.m; ++m) {
        weights[static_cast<std::size_t>((m + 1) * words(conv.k()) - 1)] &=
            (std::uint64_t{1} << (conv.k() % 64)) - 1;
      }
    }
    return {conv, ops::PaddingValue::zero, bits == 0 ? cpu::Input::signs : cpu::Input::codes,
            bits == 0 ? 1 : bits, weights.data()};
  }

  std::vector<std::int32_t> minima() const {
    std::mt19937 random(4);
    std::vector<std::int32_t> minima(static_cast<std::size_t>(conv_.m));
    for (std::int32_t& minimum : minima) minimum = static_cast<std::int32_t>(random() % 33) - 16;
    return minima;
  }

  BitImages signs(const Layer& layer) const {
    BitImages images(conv_.n, conv_.h, conv_.w, conv_.c, layer.padding);
    const auto bytes =
        random_bytes(static_cast<std::size_t>(conv_.n * conv_.h * conv_.w * ((conv_.c + 7) / 8)), 5);
    const std::uint8_t* next = bytes.data();
    for (std::int64_t n = 0; n < conv_.n; ++n) {
      for (std::int64_t i = 0; i < conv_.h * conv_.w; ++i, next += (conv_.c + 7) / 8) {
        std::uint8_t* const pixel =
            images.first() + n * images.image + i / conv_.w * images.row + i % conv_.w * images.pixel;
        std::memcpy(pixel, next, static_cast<std::size_t>((conv_.c + 7) / 8));
        if (conv_.c % 8 != 0) pixel[conv_.c / 8] &= static_cast<std::uint8_t>((1U << (conv_.c % 8)) - 1);
      }
    }
    return images;
  }

  BitImages codes(const Layer& layer, int bits) const {
    BitImages images(0, 0, 0, conv_.c, layer.padding);
    images.bytes = random_bytes(static_cast<std::size_t>(conv_.n * conv_.h * conv_.w * conv_.c), 6);
    for (std::uint8_t& code : images.bytes) code = static_cast<std::uint8_t>(code >> (8 - bits));
    return images;
  }

  ops::Conv2d conv_;
  cpu::ConvProduct product_;
  cpu::BitPool pool_;
  ops::Pair size_;
  cpu::ConvProduct::Thresholds thresholds_;
  BitImages input_;
  BitImages output_;
  cpu::Images x_;
  std::size_t scratch_bytes_;
  std::vector<cpu::PlanMemory> scratch_;
};

}  // namespace

ops::Conv2d Layer::conv() const {
  const auto wrong = [](const std::string& what) {
    return Error("ERR_HARDBIT_ARGUMENT", "A layer to measure has " + what + ".");
  };
  for (const std::int64_t size : {batch, height, width, inputs, outputs, kernel, stride}) {
    if (size < 1 || size > 1 << 16) throw wrong("sizes from 1 to 65536, not " + std::to_string(size));
  }
  if (padding < 0 || padding >= kernel) throw wrong("padding below its kernel's size");
  const std::int64_t oh = (height + 2 * padding - kernel) / stride + 1;
  const std::int64_t ow = (width + 2 * padding - kernel) / stride + 1;
  if (height + 2 * padding < kernel || width + 2 * padding < kernel) {
    throw wrong("an image of at least its kernel's size");
  }
  return {.geometry = {.stride = {stride, stride},
                       .dilation = {1, 1},
                       .padding = {padding, padding, padding, padding},
                       .groups = 1},
          .n = batch,
          .h = height,
          .w = width,
          .c = inputs,
          .m = outputs,
          .kh = kernel,
          .kw = kernel,
          .oh = oh,
          .ow = ow};
}

std::unique_ptr<Job> limit_job(const Limit& limit) { return std::make_unique<LimitJob>(limit); }

std::unique_ptr<Job> kernel_job(const ProductKernel& kernel, std::int64_t k, int planes) {
  const bool bytes = kernel.operand == cpu::Operand::bytes;
  check_k(k, bytes ? 4 : 32);
  if (planes < 1 || planes > (bytes ? 1 : 8)) {
    throw Error("ERR_HARDBIT_ARGUMENT", "There are " + std::to_string(planes) + " planes; expected " +
                                            (bytes ? "1 of bytes." : "1 to 8 of bits."));
  }
  return std::make_unique<ProductKernelJob>(kernel, k / (bytes ? 4 : 32), planes);
}

std::unique_ptr<Job> kernel_job(const FloatKernel& kernel, std::int64_t k) {
  check_k(k, 1);
  return std::make_unique<FloatKernelJob>(kernel, k);
}

std::unique_ptr<Job> binary_layer_job(const Layer& layer, int bits, bool pool) {
  if (bits < 0 || bits > 8) {
    throw Error("ERR_HARDBIT_ARGUMENT", "Codes have " + std::to_string(bits) + " bits; expected 0 to 8.");
  }
  return std::make_unique<BinaryLayerJob>(layer, bits, pool);
}

double seconds(Job& job, std::int64_t times) {
  const auto begin = std::chrono::steady_clock::now();
  job.run(times);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace hardbit::bench
