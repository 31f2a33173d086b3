#include "cuda/libraries.h"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <string_view>
#include <tuple>

#include "cuda/driver.h"
#include "cuda/runtime.h"
#include "runtime/error.h"

// What follows declares the functions and values of cuBLAS and cuDNN that are used here, by their
// documentation; a build needs neither of them.

struct CUstream_st;

namespace hardbit::cuda {

namespace driver {
CUstream_st* compute_stream();  // as kernel.h has it, without the language of kernels
/// Waits, where HARDBIT_CUDA_MANAGED asks for it.
void settle();
}  // namespace driver

namespace libraries {
namespace {

using Handle = void*;
using Descriptor = void*;

constexpr std::int64_t most_int = std::numeric_limits<int>::max();

std::atomic<bool> enabled{true};
/// Handles are for one thread at a time.
std::mutex mutex;
/// What failed, once each.
std::set<std::string>& failures() {
  static std::set<std::string> all;
  return all;
}

std::string_view environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? std::string_view() : value;
}

/// A shared library, or why there is none.
class Library {
 public:
  Library(const char* name, const char* variable, std::initializer_list<const char*> files) : name_(name) {
    if (environment("HARDBIT_CUDA_LIBRARIES") == "off") {
      fail("HARDBIT_CUDA_LIBRARIES is off");
      return;
    }
    const std::string named(environment(variable));
    if (!named.empty()) {
      open(named);
      return;
    }
    for (const char* const file : files) {
      open(file);
      if (handle_ != nullptr) return;
    }
  }
  template <class F>
  void find(const char* symbol, F*& function) {
    if (handle_ == nullptr) return;
    function = reinterpret_cast<F*>(dlsym(handle_, symbol));
    if (function == nullptr) fail("it has no " + std::string(symbol));
  }
  void fail(const std::string& reason) {
    handle_ = nullptr;  // never closed: other threads may be in it
    reason_ = reason;
  }
  /// 0 is success in both libraries.
  void check(const char* call, int status) {
    if (status != 0) fail(std::string(call) + " returned status " + std::to_string(status));
  }
  bool ready() const { return handle_ != nullptr; }
  std::string describe() const {
    return ready() ? name_ + " " + version + " (" + file_ + ")."
                   : name_ + ": not used, " + (file_.empty() ? "" : "from " + file_ + " ") + reason_ + ".";
  }
  std::string version;

 private:
  void open(const std::string& file) {
    handle_ = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_ != nullptr) {
      file_ = file;
    } else if (reason_.empty()) {
      const char* const error = dlerror();
      reason_ = error != nullptr ? error : "cannot open " + file;
    }
  }
  std::string name_;
  std::string file_;
  std::string reason_;
  void* handle_ = nullptr;
};

std::string dotted(std::size_t version, std::size_t major) {
  return std::to_string(version / major) + "." + std::to_string(version % major / 100) + "." +
         std::to_string(version % 100);
}

// -- cuBLAS

constexpr int cublas_op_n = 0;
constexpr int cublas_op_t = 1;
constexpr int cuda_r_32f = 0;
constexpr int cuda_r_16bf = 14;
constexpr int cublas_compute_32f = 68;
constexpr int cublas_compute_32f_fast_tf32 = 77;
constexpr int cublas_gemm_default = -1;

struct Cublas {
  Library library{"cuBLAS", "HARDBIT_CUBLAS", {"libcublas.so.13", "libcublas.so.12", "libcublas.so"}};
  int (*create)(Handle*) = nullptr;
  int (*set_stream)(Handle, CUstream_st*) = nullptr;
  int (*set_workspace)(Handle, void*, std::size_t) = nullptr;
  int (*get_version)(Handle, int*) = nullptr;
  /// Column-major: handle, op(A), op(B), m, n, k, α, A, its type and pitch, B …, β, C …, arithmetic,
  /// algorithm.
  int (*gemm)(Handle, int, int, int, int, int, const void*, const void*, int, int, const void*, int, int,
              const void*, void*, int, int, int, int) = nullptr;
  Handle handle = nullptr;
  /// Recorded graphs would get one of their own each.
  void* workspace = nullptr;
  static constexpr std::size_t workspace_bytes = std::size_t{32} << 20;  // the manual's for Hopper, the most
  CUstream_st* stream = nullptr;

  Cublas() {
    driver::compute_stream();  // makes the device this thread's
    const driver::Unrecorded unrecorded;
    library.find("cublasCreate_v2", create);
    library.find("cublasSetStream_v2", set_stream);
    library.find("cublasSetWorkspace_v2", set_workspace);
    library.find("cublasGetVersion_v2", get_version);
    library.find("cublasGemmEx", gemm);
    if (library.ready()) library.check("cublasCreate", create(&handle));
    if (library.ready()) {
      workspace = driver::allocate(workspace_bytes);
      if (workspace == nullptr) library.fail("there is no memory for its workspace");
    }
    int number = 0;
    if (library.ready()) library.check("cublasGetVersion", get_version(handle, &number));
    library.version = dotted(static_cast<std::size_t>(number), 10000);
  }
  /// What is asked for next goes to this thread's stream. The status.
  int follow() {
    CUstream_st* const now = driver::compute_stream();
    if (now == stream) return 0;
    if (const int status = set_stream(handle, now); status != 0) return status;
    stream = now;
    // Setting the stream takes the workspace away.
    return set_workspace(handle, workspace, workspace_bytes);
  }
};

/// Under `mutex`; never closed, since the driver may be gone when static objects are.
Cublas& cublas() {
  static auto* const opened = new Cublas;
  return *opened;
}

// -- cuDNN

constexpr int cudnn_data_float = 0;
constexpr int cudnn_tensor_nhwc = 1;
constexpr int cudnn_cross_correlation = 1;
constexpr int cudnn_deterministic = 1;
/// Allows tf32 from Ampere on.
constexpr int cudnn_default_math = 0;
constexpr int cudnn_fma_math = 3;

/// cudnnConvolution…AlgoPerf_t, alike for all three.
struct Performance {
  int algorithm;
  int status;
  float time;
  std::size_t memory;
  int determinism;
  int math;
  int reserved[3];
};

/// By Convolution, the algorithms that transform images, as bits: Winograd's and Fourier's, whose errors are
/// not those of a sum of products and whose transforms tf32 would round.
constexpr unsigned transforming[] = {1U << 4 | 1U << 5 | 1U << 6 | 1U << 7,
                                     1U << 2 | 1U << 3 | 1U << 4 | 1U << 5,
                                     1U << 2 | 1U << 4 | 1U << 5 | 1U << 6};

/// The three functions of a convolution. Descriptors and arrays come in the order of the operands and the
/// result.
struct Calls {
  int (*algorithms)(Handle, Descriptor, Descriptor, Descriptor, Descriptor, int, int*,
                    Performance*) = nullptr;
  int (*workspace)(Handle, Descriptor, Descriptor, Descriptor, Descriptor, int, std::size_t*) = nullptr;
  int (*run)(Handle, const void*, Descriptor, const void*, Descriptor, const void*, Descriptor, int, void*,
             std::size_t, const void*, Descriptor, void*) = nullptr;
};

struct Cudnn {
  Library library{"cuDNN", "HARDBIT_CUDNN", {"libcudnn.so.9", "libcudnn.so.8", "libcudnn.so"}};
  std::size_t (*get_version)() = nullptr;
  int (*create)(Handle*) = nullptr;
  int (*set_stream)(Handle, CUstream_st*) = nullptr;
  int (*create_tensor)(Descriptor*) = nullptr;
  int (*destroy_tensor)(Descriptor) = nullptr;
  /// …, layout, type, N, C, H, W
  int (*set_tensor)(Descriptor, int, int, int, int, int, int) = nullptr;
  int (*create_filter)(Descriptor*) = nullptr;
  int (*destroy_filter)(Descriptor) = nullptr;
  /// …, type, layout, M, C / groups, KH, KW
  int (*set_filter)(Descriptor, int, int, int, int, int, int) = nullptr;
  int (*create_convolution)(Descriptor*) = nullptr;
  int (*destroy_convolution)(Descriptor) = nullptr;
  /// …, padding, stride, dilation of rows and columns, kind, type
  int (*set_convolution)(Descriptor, int, int, int, int, int, int, int, int) = nullptr;
  int (*set_math)(Descriptor, int) = nullptr;
  int (*set_groups)(Descriptor, int) = nullptr;
  Calls calls[3];
  Handle handle = nullptr;
  CUstream_st* stream = nullptr;

  Cudnn() {
    driver::compute_stream();
    const driver::Unrecorded unrecorded;
    library.find("cudnnGetVersion", get_version);
    library.find("cudnnCreate", create);
    library.find("cudnnSetStream", set_stream);
    library.find("cudnnCreateTensorDescriptor", create_tensor);
    library.find("cudnnDestroyTensorDescriptor", destroy_tensor);
    library.find("cudnnSetTensor4dDescriptor", set_tensor);
    library.find("cudnnCreateFilterDescriptor", create_filter);
    library.find("cudnnDestroyFilterDescriptor", destroy_filter);
    library.find("cudnnSetFilter4dDescriptor", set_filter);
    library.find("cudnnCreateConvolutionDescriptor", create_convolution);
    library.find("cudnnDestroyConvolutionDescriptor", destroy_convolution);
    library.find("cudnnSetConvolution2dDescriptor", set_convolution);
    library.find("cudnnSetConvolutionMathType", set_math);
    library.find("cudnnSetConvolutionGroupCount", set_groups);
    constexpr const char* names[] = {"Forward", "BackwardData", "BackwardFilter"};
    for (int i = 0; i < 3; ++i) {
      const std::string name = names[i];
      library.find(("cudnnGetConvolution" + name + "Algorithm_v7").c_str(), calls[i].algorithms);
      library.find(("cudnnGetConvolution" + name + "WorkspaceSize").c_str(), calls[i].workspace);
      library.find(("cudnnConvolution" + name).c_str(), calls[i].run);
    }
    if (library.ready()) library.check("cudnnCreate", create(&handle));
    if (!library.ready()) return;
    const std::size_t number = get_version();
    library.version = dotted(number, number < 10000 ? 1000 : 10000);
  }
  /// As cuBLAS's.
  int follow() {
    CUstream_st* const now = driver::compute_stream();
    if (now == stream) return 0;
    const int status = set_stream(handle, now);
    if (status == 0) stream = now;
    return status;
  }
};

Cudnn& cudnn() {
  static auto* const opened = new Cudnn;
  return *opened;
}

/// A convolution's descriptors and algorithm.
class ConvolutionPlan {
 public:
  ConvolutionPlan(Cudnn& library, Convolution which, FloatMath math, const ops::Conv2d& conv)
      : cudnn_(library), calls_(library.calls[static_cast<int>(which)]) {
    const driver::Unrecorded unrecorded;
    const auto& [stride, dilation, padding, groups] = conv.geometry;
    const auto number = [](std::int64_t n) { return static_cast<int>(n); };
    if (cudnn_.create_tensor(&image_) != 0 || cudnn_.create_tensor(&output_) != 0 ||
        cudnn_.create_filter(&filter_) != 0 || cudnn_.create_convolution(&convolution_) != 0 ||
        cudnn_.set_tensor(image_, cudnn_tensor_nhwc, cudnn_data_float, number(conv.n), number(conv.c),
                          number(conv.h), number(conv.w)) != 0 ||
        cudnn_.set_tensor(output_, cudnn_tensor_nhwc, cudnn_data_float, number(conv.n), number(conv.m),
                          number(conv.oh), number(conv.ow)) != 0 ||
        cudnn_.set_filter(filter_, cudnn_data_float, cudnn_tensor_nhwc, number(conv.m),
                          number(conv.group_channels()), number(conv.kh), number(conv.kw)) != 0 ||
        cudnn_.set_convolution(convolution_, number(padding[0]), number(padding[2]), number(stride[0]),
                               number(stride[1]), number(dilation[0]), number(dilation[1]),
                               cudnn_cross_correlation, cudnn_data_float) != 0 ||
        cudnn_.set_groups(convolution_, number(groups)) != 0 ||
        cudnn_.set_math(convolution_, math == FloatMath::fp32 ? cudnn_fma_math : cudnn_default_math) != 0) {
      return;
    }
    first_ = which == Convolution::forward ? image_ : which == Convolution::backward_input ? filter_ : image_;
    second_ = which == Convolution::forward ? filter_ : output_;
    result_ = which == Convolution::forward          ? output_
              : which == Convolution::backward_input ? image_
                                                     : filter_;
    choose(transforming[static_cast<int>(which)]);
  }
  ~ConvolutionPlan() {
    if (image_ != nullptr) cudnn_.destroy_tensor(image_);
    if (output_ != nullptr) cudnn_.destroy_tensor(output_);
    if (filter_ != nullptr) cudnn_.destroy_filter(filter_);
    if (convolution_ != nullptr) cudnn_.destroy_convolution(convolution_);
  }
  ConvolutionPlan(const ConvolutionPlan&) = delete;
  ConvolutionPlan& operator=(const ConvolutionPlan&) = delete;

  bool usable() const { return algorithm_ >= 0; }
  void give_up() { algorithm_ = -1; }
  /// In cuDNN's order of operands: x, w → y; w, dy → dx; x, dy → dw. Its status.
  int run(const float* first, const float* second, float* result) const {
    const float one = 1;
    const float zero = 0;
    const Scratch<std::uint8_t> workspace(static_cast<std::int64_t>(workspace_bytes_));
    if (const int status = cudnn_.follow(); status != 0) return status;
    return calls_.run(cudnn_.handle, &one, first_, first, second_, second, convolution_, algorithm_,
                      workspace_bytes_ == 0 ? nullptr : workspace.data(), workspace_bytes_, &zero, result_,
                      result);
  }

 private:
  /// The fastest by cuDNN's own estimate of those that repeat themselves, add products, and want little
  /// memory.
  void choose(unsigned refused) {
    constexpr int most = 16;
    constexpr std::size_t most_bytes = std::size_t{512} << 20;
    Performance found[most] = {};
    int count = 0;
    if (calls_.algorithms(cudnn_.handle, first_, second_, convolution_, result_, most, &count, found) != 0)
      return;
    for (int i = 0; i < count && i < most; ++i) {
      if (found[i].status != 0 || found[i].determinism != cudnn_deterministic ||
          (refused >> found[i].algorithm & 1) != 0) {
        continue;
      }
      std::size_t bytes = 0;
      const int status =
          calls_.workspace(cudnn_.handle, first_, second_, convolution_, result_, found[i].algorithm, &bytes);
      if (status != 0 || bytes > most_bytes) continue;
      algorithm_ = found[i].algorithm;
      workspace_bytes_ = bytes;
      return;
    }
  }

  Cudnn& cudnn_;
  const Calls& calls_;
  Descriptor image_ = nullptr;
  Descriptor output_ = nullptr;
  Descriptor filter_ = nullptr;
  Descriptor convolution_ = nullptr;
  /// Of these.
  Descriptor first_ = nullptr;
  Descriptor second_ = nullptr;
  Descriptor result_ = nullptr;
  int algorithm_ = -1;
  std::size_t workspace_bytes_ = 0;
};

constexpr const char* convolution_names[] = {"a convolution", "an input gradient", "a weight gradient"};

/// Null where cuDNN has none. Under `mutex`.
ConvolutionPlan* plan(Convolution which, FloatMath math, const ops::Conv2d& conv) {
  const auto& padding = conv.geometry.padding;
  // Counts that cuDNN takes, with room for what it makes of them.
  const bool fits = conv.n * conv.h * conv.w <= most_int / conv.c &&
                    conv.n * conv.oh * conv.ow <= most_int / conv.m && conv.m * conv.k() <= most_int;
  if (!fits || padding[0] != padding[1] || padding[2] != padding[3] || !cudnn().library.ready())
    return nullptr;
  constexpr std::size_t most_plans = 1024;
  using Key = std::tuple<Convolution, FloatMath, ops::Conv2d>;
  static auto* const plans = new std::map<Key, ConvolutionPlan>;
  const Key key{which, math, conv};
  auto at = plans->find(key);
  if (at == plans->end()) {
    if (plans->size() >= most_plans) plans->clear();
    at = plans
             ->emplace(std::piecewise_construct, std::forward_as_tuple(key),
                       std::forward_as_tuple(cudnn(), which, math, conv))
             .first;
    if (!at->second.usable()) {
      failures().insert(std::string("cuDNN has no algorithm that fits for ") +
                        convolution_names[static_cast<int>(which)] +
                        " of some sizes; our own kernel computes it.");
    }
  }
  return at->second.usable() ? &at->second : nullptr;
}

/// What fails while it is recorded says nothing about how it does otherwise.
void refuse_recording(const char* what, int status) {
  if (!driver::capturing()) return;
  throw Error("ERR_HARDBIT_UNSUPPORTED", std::string(what) + " returned status " + std::to_string(status) +
                                             " while operators are being recorded: it cannot be recorded.");
}

}  // namespace

std::vector<std::string> describe() {
  std::string reason;
  if (driver::devices(reason).empty()) return {"cuBLAS and cuDNN: not loaded, there is no device."};
  const std::lock_guard lock(mutex);
  try {
    std::vector<std::string> all{cublas().library.describe(), cudnn().library.describe()};
    all.insert(all.end(), failures().begin(), failures().end());
    return all;
  } catch (const Error& error) {
    return {std::string("cuBLAS and cuDNN: not loaded. ") + error.what()};
  }
}

void set_enabled(bool on) { enabled = on; }

bool takes_matmul(std::int64_t m, std::int64_t n, std::int64_t k) {
  if (!enabled || std::max({m, n, k}) > most_int) return false;
  const std::lock_guard lock(mutex);
  return cublas().library.ready();
}

bool matmul(FloatMath math, bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n,
            std::int64_t k, const void* a, const void* b, float* c) {
  if (!takes_matmul(m, n, k)) return false;
  const std::lock_guard lock(mutex);
  Cublas& blas = cublas();
  int status = blas.follow();
  const float one = 1;
  const float zero = 0;
  const int type = math == FloatMath::bf16 ? cuda_r_16bf : cuda_r_32f;
  // Rows of ours are columns there: Cᵀ = op(B)ᵀ · op(A)ᵀ, where every matrix is seen transposed.
  if (status == 0) {
    status = blas.gemm(blas.handle, transpose_b ? cublas_op_t : cublas_op_n,
                       transpose_a ? cublas_op_t : cublas_op_n, static_cast<int>(n), static_cast<int>(m),
                       static_cast<int>(k), &one, b, type, static_cast<int>(transpose_b ? k : n), a, type,
                       static_cast<int>(transpose_a ? m : k), &zero, c, cuda_r_32f, static_cast<int>(n),
                       math == FloatMath::tf32 ? cublas_compute_32f_fast_tf32 : cublas_compute_32f,
                       cublas_gemm_default);
  }
  if (status == 0) {
    driver::settle();
    return true;
  }
  refuse_recording("A matrix product of cuBLAS", status);
  failures().insert("cuBLAS returned status " + std::to_string(status) +
                    " for some matrix product; our own kernel computed it.");
  return false;
}

bool takes(Convolution which, FloatMath math, const ops::Conv2d& conv) {
  if (!enabled) return false;
  const std::lock_guard lock(mutex);
  driver::compute_stream();
  return plan(which, math, conv) != nullptr;
}

bool convolve(Convolution which, FloatMath math, const ops::Conv2d& conv, const float* first,
              const float* second, float* result) {
  if (!enabled) return false;
  const std::lock_guard lock(mutex);
  driver::compute_stream();
  ConvolutionPlan* const found = plan(which, math, conv);
  if (found == nullptr) return false;
  if (which != Convolution::forward) std::swap(first, second);  // to w, dy and x, dy
  const int status = found->run(first, second, result);
  if (status == 0) {
    driver::settle();
    return true;
  }
  refuse_recording("A convolution of cuDNN", status);
  found->give_up();
  failures().insert("cuDNN returned status " + std::to_string(status) + " for " +
                    convolution_names[static_cast<int>(which)] +
                    " of some sizes; our own kernel computes it.");
  return false;
}

}  // namespace libraries
}  // namespace hardbit::cuda
