#include "cpu/onednn.h"

#include <omp.h>

#include <compare>
#include <cstddef>
#include <dnnl.hpp>
#include <map>
#include <unordered_map>

#include "runtime/error.h"
#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

using dnnl::memory;

/// What a compiled product depends on.
struct Problem {
  bool transpose_a, transpose_b, bias;
  std::int64_t m, n, k;
  int threads;
  auto operator<=>(const Problem&) const = default;
};

/// A compiled product and its operands, whose addresses are set before each run.
class Product {
 public:
  Product(const Problem& problem, const dnnl::engine& engine) {
    using Tag = memory::format_tag;
    const auto f32 = memory::data_type::f32;
    const memory::desc a({problem.m, problem.k}, f32, problem.transpose_a ? Tag::ba : Tag::ab);
    const memory::desc b({problem.k, problem.n}, f32, problem.transpose_b ? Tag::ba : Tag::ab);
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
    arguments_.emplace(DNNL_ARG_SRC, memory(a, engine, nullptr));
    arguments_.emplace(DNNL_ARG_WEIGHTS, memory(b, engine, nullptr));
    arguments_.emplace(DNNL_ARG_DST, memory(c, engine, nullptr));
    if (problem.bias) arguments_.emplace(DNNL_ARG_BIAS, memory(bias, engine, nullptr));
  }

  void run(dnnl::stream& stream, const float* a, const float* b, const float* bias, float* c) {
    const auto set = [this](int argument, const float* data) {
      arguments_.at(argument).set_data_handle(const_cast<float*>(data));  // inputs are only read
    };
    set(DNNL_ARG_SRC, a);
    set(DNNL_ARG_WEIGHTS, b);
    set(DNNL_ARG_DST, c);
    if (bias != nullptr) set(DNNL_ARG_BIAS, bias);
    primitive_.execute(stream, arguments_);
    stream.wait();
  }

 private:
  dnnl::matmul primitive_;
  std::unordered_map<int, memory> arguments_;
};

/// Each thread that calls has its own products: a primitive's scratch memory serves one run at a time.
class Products {
 public:
  Product& get(const Problem& problem) {
    constexpr std::size_t most = 256;  // a network has a few; changing batch sizes must not pile them up
    if (const auto found = products_.find(problem); found != products_.end()) return found->second;
    if (products_.size() >= most) products_.clear();
    return products_.emplace(problem, Product(problem, engine_)).first->second;
  }
  dnnl::stream& stream() { return stream_; }

 private:
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  std::map<Problem, Product> products_;
};

}  // namespace

std::string onednn_version() {
  const dnnl_version_t* const v = dnnl_version();
  return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
}

void matmul(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
            const float* a, const float* b, const float* bias, float* c) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    for (std::int64_t i = 0; i < m * n; ++i) c[i] = bias != nullptr ? bias[i % n] : 0.0F;
    return;
  }
  // oneDNN asks OpenMP for its thread count, which is a setting of the calling thread.
  const int count = threads();
  omp_set_num_threads(count);
  try {
    thread_local Products products;
    products.get({transpose_a, transpose_b, bias != nullptr, m, n, k, count})
        .run(products.stream(), a, b, bias, c);
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory) {
      throw Error("ERR_HARDBIT_MEMORY",
                  "oneDNN could not allocate memory for a matrix product; use a smaller batch.");
    }
    throw Error("ERR_HARDBIT_UNSUPPORTED", "oneDNN " + onednn_version() + " refused a matrix product of " +
                                               std::to_string(m) + " x " + std::to_string(k) + " and " +
                                               std::to_string(k) + " x " + std::to_string(n) + ": " +
                                               error.what() + ".");
  }
}

}  // namespace hardbit::cpu
