#include <omp.h>

#include <dnnl.hpp>
#include <unordered_map>
#include <vector>

#include "bench/job.h"
#include "cpu/onednn.h"
#include "runtime/error.h"
#include "runtime/threads.h"

namespace hardbit::bench {
namespace {

using dnnl::memory;

class Convolution final : public Job {
 public:
  Convolution(const ops::Conv2d& conv, PeerType type) : threads_(threads()) {
    omp_set_num_threads(threads_);
    const bool floats = type == PeerType::f32;
    const auto of = [](const memory::dims& sizes, memory::data_type element) {
      return memory::desc(sizes, element, memory::format_tag::any);
    };
    using Element = memory::data_type;
    const memory::desc x = of({conv.n, conv.c, conv.h, conv.w}, floats ? Element::f32 : Element::u8);
    const memory::desc w = of({conv.m, conv.c, conv.kh, conv.kw}, floats ? Element::f32 : Element::s8);
    const memory::desc y = of({conv.n, conv.m, conv.oh, conv.ow}, floats ? Element::f32 : Element::u8);
    const auto& g = conv.geometry;
    const memory::dims stride{g.stride[0], g.stride[1]};
    const memory::dims before{g.padding[0], g.padding[2]};
    const memory::dims after{g.padding[1], g.padding[3]};
    // Sums of u8 by s8 go back to u8 by one scale, as between two layers of a quantized network.
    constexpr float scale = 1.0F / 256.0F;
    dnnl::primitive_attr attributes;
    constexpr auto kind = dnnl::prop_kind::forward_inference;
    constexpr auto algorithm = dnnl::algorithm::convolution_auto;
#if DNNL_VERSION_MAJOR >= 3
    if (!floats) attributes.set_scales_mask(DNNL_ARG_DST, 0);
    const dnnl::convolution_forward::primitive_desc compiled(engine_, kind, algorithm, x, w, y, stride,
                                                             before, after, attributes);
#else
    if (!floats) attributes.set_output_scales(0, {scale});
    const dnnl::convolution_forward::primitive_desc compiled(
        dnnl::convolution_forward::desc(kind, algorithm, x, w, y, stride, before, after), attributes,
        engine_);
#endif
    primitive_ = dnnl::convolution_forward(compiled);
    kernel_ = "oneDNN " + cpu::onednn_version() + " " + compiled.impl_info_str();
    const auto operand = [&](int argument, const memory::desc& desc, bool is_float) {
      const memory operand(desc, engine_);
      // Small whole numbers: no denormal floats, no saturated sums.
      if (is_float) {
        auto* const values = static_cast<float*>(operand.get_data_handle());
        for (std::size_t i = 0; i < desc.get_size() / sizeof(float); ++i) {
          values[i] = static_cast<float>(i * 37 % 7) - 3.0F;
        }
      } else {
        auto* const values = static_cast<std::uint8_t*>(operand.get_data_handle());
        for (std::size_t i = 0; i < desc.get_size(); ++i) values[i] = static_cast<std::uint8_t>(i * 37 % 7);
      }
      arguments_.emplace(argument, operand);
    };
    operand(DNNL_ARG_SRC, compiled.src_desc(), floats);
    operand(DNNL_ARG_DST, compiled.dst_desc(), floats);
    // Weights through a reorder: int8 layouts hold sums of the weights behind them, which it fills in.
    const memory::desc plain({conv.m, conv.c, conv.kh, conv.kw}, floats ? Element::f32 : Element::s8,
                             memory::format_tag::oihw);
    memory given(plain, engine_);
    for (std::int64_t i = 0; i < conv.m * conv.k(); ++i) {
      const auto value = static_cast<int>(i * 53 % 5) - 2;
      if (floats) {
        static_cast<float*>(given.get_data_handle())[i] = static_cast<float>(value);
      } else {
        static_cast<std::int8_t*>(given.get_data_handle())[i] = static_cast<std::int8_t>(value);
      }
    }
    memory weights(compiled.weights_desc(), engine_);
    dnnl::reorder(given, weights).execute(stream_, given, weights);
    stream_.wait();
    arguments_.emplace(DNNL_ARG_WEIGHTS, weights);
#if DNNL_VERSION_MAJOR >= 3
    if (!floats) {
      const memory one({{1}, Element::f32, memory::format_tag::a}, engine_);
      *static_cast<float*>(one.get_data_handle()) = 1.0F / scale;
      arguments_.emplace(DNNL_ARG_ATTR_SCALES | DNNL_ARG_DST, one);
    }
#endif
  }

  void run(std::int64_t times) override {
    // oneDNN asks OpenMP for its thread count, which is a setting of the calling thread.
    omp_set_num_threads(threads_);
    for (std::int64_t i = 0; i < times; ++i) {
      primitive_.execute(stream_, arguments_);
      stream_.wait();
    }
  }

 private:
  int threads_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::primitive primitive_;
  std::unordered_map<int, memory> arguments_;
};

}  // namespace

std::unique_ptr<Job> onednn_job(const Layer& layer, PeerType type) {
  try {
    return std::make_unique<Convolution>(layer.conv(), type);
  } catch (const dnnl::error& error) {
    throw Error(
        "ERR_HARDBIT_UNSUPPORTED",
        "oneDNN " + cpu::onednn_version() + " refused a convolution to compare with: " + error.what() + ".");
  }
}

}  // namespace hardbit::bench
