#include "cpu/onednn.h"

#include <omp.h>

#include <compare>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <dnnl.hpp>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/error.h"
#include "runtime/tensor.h"
#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

using dnnl::memory;

/// What a compiled product depends on.
struct ProductProblem {
  bool transpose_a, transpose_b, bias, bf16;
  std::int64_t m, n, k;
  int threads;
  auto operator<=>(const ProductProblem&) const = default;
};

/// One operand of a compiled primitive: the caller's array, f32, and the primitive's where layout or type
/// differ.
struct Operand {
  memory caller;
  memory inner;
  dnnl::reorder reorder;  // empty where they agree
  bool reordered() const { return static_cast<bool>(reorder); }

  Operand(const memory::desc& given, const memory::desc& wanted, bool output, const dnnl::engine& engine)
      : caller(given, engine, nullptr), inner(wanted, engine, nullptr) {
    if (given != wanted) reorder = output ? dnnl::reorder(inner, caller) : dnnl::reorder(caller, inner);
  }
};

/// A compiled primitive's operands by argument, whose addresses are set before each run.
class Operands {
 public:
  /// One array a run reads or writes.
  struct Data {
    int argument;
    const float* data;
  };

  void add(int argument, const memory::desc& caller, const memory::desc& inner, bool output,
           const dnnl::engine& engine) {
    Operand operand(caller, inner, output, engine);
    arguments_.emplace(argument, operand.inner);  // the same memory: set_data_handle reaches both
    operands_.emplace(argument, std::move(operand));
  }

  /// `inputs` are reordered before, `output` after the primitive, where it wants something else.
  void run(dnnl::primitive& primitive, dnnl::stream& stream, std::initializer_list<Data> inputs,
           Data output) {
    std::vector<Tensor> scratch;
    const auto place = [&](const Data& given) -> Operand& {
      Operand& operand = operands_.at(given.argument);
      operand.caller.set_data_handle(const_cast<float*>(given.data));  // inputs are only read
      if (operand.reordered()) {
        scratch.push_back(
            Tensor::empty(DType::u8, {static_cast<std::int64_t>(operand.inner.get_desc().get_size())}));
        operand.inner.set_data_handle(scratch.back().raw());
      } else {
        operand.inner.set_data_handle(const_cast<float*>(given.data));
      }
      return operand;
    };
    for (const Data& input : inputs) {
      if (input.data == nullptr) continue;
      Operand& operand = place(input);
      if (operand.reordered()) operand.reorder.execute(stream, operand.caller, operand.inner);
    }
    Operand& result = place(output);
    primitive.execute(stream, arguments_);
    if (result.reordered()) result.reorder.execute(stream, result.inner, result.caller);
    stream.wait();
  }

 private:
  std::unordered_map<int, Operand> operands_;
  std::unordered_map<int, memory> arguments_;
};

memory::data_type operand_type(bool bf16) { return bf16 ? memory::data_type::bf16 : memory::data_type::f32; }

/// A compiled product.
class Product {
 public:
  Product(const ProductProblem& problem, const dnnl::engine& engine) {
    using Tag = memory::format_tag;
    const auto f32 = memory::data_type::f32;
    const auto type = operand_type(problem.bf16);
    const memory::dims a_dims{problem.m, problem.k};
    const memory::dims b_dims{problem.k, problem.n};
    const Tag a_tag = problem.transpose_a ? Tag::ba : Tag::ab;
    const Tag b_tag = problem.transpose_b ? Tag::ba : Tag::ab;
    const memory::desc a(a_dims, type, a_tag);
    const memory::desc b(b_dims, type, b_tag);
    const memory::desc c({problem.m, problem.n}, f32, Tag::ab);
    const memory::desc bias = problem.bias ? memory::desc({1, problem.n}, f32, Tag::ab) : memory::desc();
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::matmul::primitive_desc compiled = problem.bias
                                                      ? dnnl::matmul::primitive_desc(engine, a, b, bias, c)
                                                      : dnnl::matmul::primitive_desc(engine, a, b, c);
#else
    const dnnl::matmul::primitive_desc compiled(
        problem.bias ? dnnl::matmul::desc(a, b, bias, c) : dnnl::matmul::desc(a, b, c), engine);
#endif
    primitive_ = dnnl::matmul(compiled);
    operands_.add(DNNL_ARG_SRC, memory::desc(a_dims, f32, a_tag), a, false, engine);
    operands_.add(DNNL_ARG_WEIGHTS, memory::desc(b_dims, f32, b_tag), b, false, engine);
    operands_.add(DNNL_ARG_DST, c, c, true, engine);
    if (problem.bias) operands_.add(DNNL_ARG_BIAS, bias, bias, false, engine);
  }

  void run(dnnl::stream& stream, const float* a, const float* b, const float* bias, float* c) {
    operands_.run(primitive_, stream, {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_BIAS, bias}},
                  {DNNL_ARG_DST, c});
  }

 private:
  dnnl::matmul primitive_;
  Operands operands_;
};

enum class Pass { forward, backward_data, backward_weights };

/// What a compiled convolution depends on.
struct ConvolutionProblem {
  Pass pass;
  bool bias, bf16;
  ops::Conv2d conv;
  int threads;
  auto operator<=>(const ConvolutionProblem&) const = default;
};

/// A compiled convolution.
class Convolution {
 public:
  Convolution(const ConvolutionProblem& problem, const dnnl::engine& engine) {
    // Plain channels-last activations save their reorders, unless only a reference loop takes them.
    if (!compile(problem, engine, memory::format_tag::nhwc))
      compile(problem, engine, memory::format_tag::any);
  }

  void run(dnnl::stream& stream, std::initializer_list<Operands::Data> inputs, Operands::Data output) {
    operands_.run(primitive_, stream, inputs, output);
  }

 private:
  /// Our arrays, and what oneDNN may choose of them.
  struct Layouts {
    memory::desc x, w, bias, y;
    memory::desc inner_x, inner_w, inner_y;
    memory::dims stride, dilation, before, after;
  };

  static Layouts layouts(const ConvolutionProblem& problem, Pass pass, memory::format_tag activations) {
    using Tag = memory::format_tag;
    const auto f32 = memory::data_type::f32;
    // A backward pass reads bf16 where asked for and makes f32; the forward pass it belongs to has one type.
    const auto read = operand_type(problem.bf16);
    const auto x_type = pass == Pass::backward_data ? f32 : read;
    const auto w_type = pass == Pass::backward_weights ? f32 : read;
    const ops::Conv2d& c = problem.conv;
    const auto& [stride, dilation, padding, groups] = c.geometry;
    const std::int64_t in = c.group_channels();
    memory::dims weights{c.m / groups, in, c.kh, c.kw};
    memory::dims strides{c.k(), 1, c.kw * in, in};
    if (groups > 1) {
      weights.insert(weights.begin(), groups);
      strides.insert(strides.begin(), c.m / groups * c.k());
    }
    const memory::dims x{c.n, c.c, c.h, c.w};
    const memory::dims y{c.n, c.m, c.oh, c.ow};
    return {.x = {x, f32, Tag::nhwc},
            .w = {weights, f32, strides},
            .bias = problem.bias ? memory::desc({c.m}, f32, Tag::a) : memory::desc(),
            .y = {y, f32, Tag::nhwc},
            .inner_x = {x, x_type, activations},
            .inner_w = {weights, w_type, Tag::any},
            .inner_y = {y, read, activations},
            .stride = {stride[0], stride[1]},
            .dilation = {dilation[0] - 1, dilation[1] - 1},
            .before = {padding[0], padding[2]},
            .after = {padding[1], padding[3]}};
  }

  static dnnl::convolution_forward::primitive_desc forward(const Layouts& l, const dnnl::engine& engine) {
    constexpr auto kind = dnnl::prop_kind::forward_training;
    constexpr auto direct = dnnl::algorithm::convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
    return l.bias.get_size() != 0
               ? dnnl::convolution_forward::primitive_desc(engine, kind, direct, l.inner_x, l.inner_w, l.bias,
                                                           l.inner_y, l.stride, l.dilation, l.before, l.after)
               : dnnl::convolution_forward::primitive_desc(engine, kind, direct, l.inner_x, l.inner_w,
                                                           l.inner_y, l.stride, l.dilation, l.before,
                                                           l.after);
#else
    return {l.bias.get_size() != 0
                ? dnnl::convolution_forward::desc(kind, direct, l.inner_x, l.inner_w, l.bias, l.inner_y,
                                                  l.stride, l.dilation, l.before, l.after)
                : dnnl::convolution_forward::desc(kind, direct, l.inner_x, l.inner_w, l.inner_y, l.stride,
                                                  l.dilation, l.before, l.after),
            engine};
#endif
  }

  template <class Backward>
  static typename Backward::primitive_desc backward(const Layouts& l, const Layouts& forward_layouts,
                                                    const dnnl::engine& engine) {
    constexpr auto direct = dnnl::algorithm::convolution_direct;
    const auto hint = forward(forward_layouts, engine);
#if DNNL_VERSION_MAJOR >= 3
    return {engine, direct, l.inner_x, l.inner_w, l.inner_y, l.stride, l.dilation, l.before, l.after, hint};
#else
    return {typename Backward::desc(direct, l.inner_x, l.inner_w, l.inner_y, l.stride, l.dilation, l.before,
                                    l.after),
            engine, hint};
#endif
  }

  /// False where `any` may do better.
  bool compile(const ConvolutionProblem& problem, const dnnl::engine& engine,
               memory::format_tag activations) {
    const Layouts l = layouts(problem, problem.pass, activations);
    const Layouts hint = layouts(problem, Pass::forward, activations);
    const auto keep = [&](const auto& compiled, auto&& primitive) {
      if (activations != memory::format_tag::any &&
          std::string_view(compiled.impl_info_str()).starts_with("ref")) {
        return false;
      }
      primitive_ = std::move(primitive);
      return true;
    };
    const auto operand = [&](int argument, const memory::desc& caller, const memory::desc& inner,
                             bool output) { operands_.add(argument, caller, inner, output, engine); };
    switch (problem.pass) {
      case Pass::forward: {
        const auto compiled = forward(l, engine);
        if (!keep(compiled, dnnl::convolution_forward(compiled))) return false;
        operand(DNNL_ARG_SRC, l.x, compiled.src_desc(), false);
        operand(DNNL_ARG_WEIGHTS, l.w, compiled.weights_desc(), false);
        operand(DNNL_ARG_DST, l.y, compiled.dst_desc(), true);
        if (problem.bias) operand(DNNL_ARG_BIAS, l.bias, l.bias, false);
        return true;
      }
      case Pass::backward_data: {
        const auto compiled = backward<dnnl::convolution_backward_data>(l, hint, engine);
        if (!keep(compiled, dnnl::convolution_backward_data(compiled))) return false;
        operand(DNNL_ARG_DIFF_DST, l.y, compiled.diff_dst_desc(), false);
        operand(DNNL_ARG_WEIGHTS, l.w, compiled.weights_desc(), false);
        operand(DNNL_ARG_DIFF_SRC, l.x, compiled.diff_src_desc(), true);
        return true;
      }
      case Pass::backward_weights: {
        const auto compiled = backward<dnnl::convolution_backward_weights>(l, hint, engine);
        if (!keep(compiled, dnnl::convolution_backward_weights(compiled))) return false;
        operand(DNNL_ARG_DIFF_DST, l.y, compiled.diff_dst_desc(), false);
        operand(DNNL_ARG_SRC, l.x, compiled.src_desc(), false);
        operand(DNNL_ARG_DIFF_WEIGHTS, l.w, compiled.diff_weights_desc(), true);
        return true;
      }
    }
    return true;
  }

  dnnl::primitive primitive_;
  Operands operands_;
};

/// Compiled primitives by problem.
template <class Problem, class Primitive>
class Cache {
 public:
  Primitive& get(const Problem& problem, const dnnl::engine& engine) {
    constexpr std::size_t most = 256;  // a network has a few; changing batch sizes must not pile them up
    if (const auto found = primitives_.find(problem); found != primitives_.end()) return found->second;
    if (primitives_.size() >= most) primitives_.clear();
    return primitives_.emplace(problem, Primitive(problem, engine)).first->second;
  }

 private:
  std::map<Problem, Primitive> primitives_;
};

/// Each thread that calls has its own primitives: a primitive's scratch memory serves one run at a time.
struct Context {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  Cache<ProductProblem, Product> products;
  Cache<ConvolutionProblem, Convolution> convolutions;
};

/// Calls run(context, thread count); oneDNN's errors leave as ours, `what` is "a matrix product of …".
template <class Run, class Describe>
void with_onednn(const Run& run, const Describe& what) {
  // oneDNN asks OpenMP for its thread count, which is a setting of the calling thread.
  const int count = threads();
  omp_set_num_threads(count);
  try {
    thread_local Context context;
    run(context, count);
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory) {
      throw Error("ERR_HARDBIT_MEMORY",
                  "oneDNN could not allocate memory for " + what() + "; use a smaller batch.");
    }
    throw Error("ERR_HARDBIT_UNSUPPORTED",
                "oneDNN " + onednn_version() + " refused " + what() + ": " + error.what() + ".");
  }
}

void convolve(Pass pass, const ops::Conv2d& conv, bool bias, std::initializer_list<Operands::Data> inputs,
              Operands::Data output, bool bf16 = false) {
  with_onednn(
      [&](Context& context, int count) {
        context.convolutions.get({pass, bias, bf16, conv, count}, context.engine)
            .run(context.stream, inputs, output);
      },
      [&] {
        return "a convolution of " + to_string(Shape{conv.n, conv.h, conv.w, conv.c}) + " by " +
               to_string(Shape{conv.m, conv.kh, conv.kw, conv.group_channels()});
      });
}

void multiply(ProductProblem problem, const float* a, const float* b, const float* bias, float* c) {
  const auto [m, n, k] = std::tuple{problem.m, problem.n, problem.k};
  if (m == 0 || n == 0) return;
  if (k == 0) {
    for (std::int64_t i = 0; i < m * n; ++i) c[i] = bias != nullptr ? bias[i % n] : 0.0F;
    return;
  }
  with_onednn(
      [&](Context& context, int count) {
        problem.threads = count;
        context.products.get(problem, context.engine).run(context.stream, a, b, bias, c);
      },
      [&] {
        return "a matrix product of " + std::to_string(problem.m) + " x " + std::to_string(problem.k) +
               " and " + std::to_string(problem.k) + " x " + std::to_string(problem.n);
      });
}

bool emulates_bf16(const char* setting) {
  if (setting == nullptr || *setting == '\0') return false;
  if (std::strcmp(setting, "emulate") == 0) return true;
  throw Error("ERR_HARDBIT_UNKNOWN_NAME",
              "HARDBIT_BF16 is '" + std::string(setting) + "'; expected 'emulate' or nothing.");
}

}  // namespace

std::string onednn_version() {
  const dnnl_version_t* const v = dnnl_version();
  return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
}

bool has_bf16() {
  // Sets of instructions are sets of bits. With AVX-512 alone oneDNN computes in bf16 by way of f32.
  static const auto needed =
      static_cast<unsigned>(emulates_bf16(std::getenv("HARDBIT_BF16")) ? dnnl::cpu_isa::avx512_core
                                                                       : dnnl::cpu_isa::avx512_core_bf16);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & needed) == needed;
}

void matmul(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
            const float* a, const float* b, const float* bias, float* c) {
  multiply({transpose_a, transpose_b, bias != nullptr, false, m, n, k, 0}, a, b, bias, c);
}

void matmul_bf16(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                 const float* a, const float* b, float* c) {
  multiply({transpose_a, transpose_b, false, true, m, n, k, 0}, a, b, nullptr, c);
}

void convolution_forward(const ops::Conv2d& conv, const float* x, const float* w, const float* bias,
                         float* y) {
  if (bias != nullptr) {
    convolve(Pass::forward, conv, true, {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_BIAS, bias}},
             {DNNL_ARG_DST, y});
  } else {
    convolve(Pass::forward, conv, false, {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}}, {DNNL_ARG_DST, y});
  }
}

void convolution_backward_data(const ops::Conv2d& conv, const float* dy, const float* w, float* dx) {
  convolve(Pass::backward_data, conv, false, {{DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_WEIGHTS, w}},
           {DNNL_ARG_DIFF_SRC, dx});
}

void convolution_backward_weights(const ops::Conv2d& conv, const float* dy, const float* x, float* dw) {
  convolve(Pass::backward_weights, conv, false, {{DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_SRC, x}},
           {DNNL_ARG_DIFF_WEIGHTS, dw});
}

void convolution_backward_data_bf16(const ops::Conv2d& conv, const float* dy, const float* w, float* dx) {
  convolve(Pass::backward_data, conv, false, {{DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_WEIGHTS, w}},
           {DNNL_ARG_DIFF_SRC, dx}, true);
}

void convolution_backward_weights_bf16(const ops::Conv2d& conv, const float* dy, const float* x, float* dw) {
  convolve(Pass::backward_weights, conv, false, {{DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_SRC, x}},
           {DNNL_ARG_DIFF_WEIGHTS, dw}, true);
}

}  // namespace hardbit::cpu
