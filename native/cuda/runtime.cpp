#include "cuda/runtime.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "runtime/error.h"

namespace hardbit::cuda {
namespace {

constexpr std::size_t alignment = 256;

/// Sizes share blocks within an eighth of a power of two, from 256 bytes on.
std::size_t class_size(std::size_t bytes) {
  if (bytes <= alignment) return alignment;
  const unsigned top = static_cast<unsigned>(std::bit_width(bytes - 1)) - 1;
  const std::size_t step = std::max(alignment, std::size_t{1} << (top > 3 ? top - 3 : 0));
  return (bytes + step - 1) / step * step;
}

std::string megabytes(std::size_t bytes) { return std::to_string((bytes + 999999) / 1000000) + " MB"; }

/// Guards all pools, and what they count together.
std::mutex pools_mutex;
MemoryInfo total;

using FreeBlocks = std::multimap<std::size_t, void*>;

}  // namespace

struct Pool::State {
  Use use;
  FreeBlocks free;
  /// Of a pool for uploads: where the last use of a free block ends.
  std::map<void*, std::unique_ptr<driver::Event>> last_uses;
};

namespace {

std::vector<FreeBlocks*>& all_free() {
  static auto* const lists = new std::vector<FreeBlocks*>;
  return *lists;
}

/// Gives the free blocks of all pools but recordings' back; the mutex is held. Work may still use them: the
/// driver waits.
void release_free() {
  for (FreeBlocks* const list : all_free()) {
    for (const auto& [size, data] : *list) {
      driver::release(data);
      total.cached_bytes -= size;
    }
    list->clear();
  }
}

/// The pool of everything that no graph has recorded. Never destroyed: tensors may outlive static objects.
const std::shared_ptr<Pool>& main_pool() {
  static const auto* const pool = new std::shared_ptr<Pool>(std::make_shared<Pool>(Pool::Use::compute));
  return *pool;
}

thread_local std::shared_ptr<Pool> recording_pool;

}  // namespace

Pool::Pool(Use use) : state_(std::make_unique<State>(State{use, {}, {}})) {
  if (use == Use::recording) return;  // what is free here, a graph still writes to
  const std::lock_guard lock(pools_mutex);
  all_free().push_back(&state_->free);
}

Pool::~Pool() {
  // The blocks of a graph that is gone serve everybody.
  const std::shared_ptr<Pool>& heir = main_pool();
  const std::lock_guard lock(pools_mutex);
  std::erase(all_free(), &state_->free);
  heir->state_->free.merge(state_->free);
}

Block Pool::allocate(std::size_t bytes) {
  const std::size_t size = class_size(bytes);
  const std::lock_guard lock(pools_mutex);
  const auto live = [&](void* data) {
    ++total.live_blocks;
    total.live_bytes += size;
    total.peak_bytes = std::max(total.peak_bytes, total.live_bytes + total.cached_bytes);
    return Block{data, size};
  };
  if (const auto found = state_->free.find(size); found != state_->free.end()) {
    void* const data = found->second;
    state_->free.erase(found);
    total.cached_bytes -= size;
    if (const auto last = state_->last_uses.find(data); last != state_->last_uses.end()) {
      last->second->hold(driver::Queue::upload);
    }
    return live(data);
  }
  void* data = driver::allocate(size);
  if (data == nullptr) {
    release_free();
    data = driver::allocate(size);
  }
  if (data == nullptr) {
    throw Error("ERR_HARDBIT_MEMORY", "The GPU has no memory for " + megabytes(bytes) + ": " +
                                          megabytes(driver::free_memory()) + " of " +
                                          megabytes(driver::device().memory) +
                                          " are free; use smaller batches, or the cpu device.");
  }
  return live(data);
}

void Pool::release(Block block) noexcept {
  const std::lock_guard lock(pools_mutex);
  --total.live_blocks;
  total.live_bytes -= block.capacity;
  try {
    if (state_->use == Use::uploads) {
      auto& last = state_->last_uses[block.data];
      if (!last) last = std::make_unique<driver::Event>();
      last->record(driver::Queue::compute);
    }
    state_->free.emplace(block.capacity, block.data);
    total.cached_bytes += block.capacity;
  } catch (const std::exception&) {
    driver::release(block.data);  // the device is lost, or this process has no memory
  }
}

std::shared_ptr<Pool> current_pool() { return recording_pool ? recording_pool : main_pool(); }

void set_recording_pool(std::shared_ptr<Pool> pool) { recording_pool = std::move(pool); }

std::shared_ptr<Pool> upload_pool() {
  static const auto* const pool = new std::shared_ptr<Pool>(std::make_shared<Pool>(Pool::Use::uploads));
  return *pool;
}

MemoryInfo memory_info() {
  const std::lock_guard lock(pools_mutex);
  return total;
}

void empty_cache() {
  const std::lock_guard lock(pools_mutex);
  release_free();
}

namespace {

/// Pinned memory through which copies go, in pieces, so that filling one overlaps with copying another.
class Staging {
 public:
  static Staging& instance() {
    static auto* const staging = new Staging;
    return *staging;
  }

  void upload(std::byte* device, const std::byte* host, std::size_t bytes, Order order) {
    const std::lock_guard lock(mutex_);
    if (order == Order::after_all) {
      before_.record(driver::Queue::compute);
      before_.hold(driver::Queue::upload);
    }
    while (bytes > 0) {
      Piece& piece = next();
      const std::size_t part = std::min(bytes, piece_bytes);
      std::memcpy(piece.data, host, part);
      driver::upload(device, piece.data, part);
      piece.done.record(driver::Queue::upload);
      device += part;
      host += part;
      bytes -= part;
    }
    after_.record(driver::Queue::upload);
    after_.hold(driver::Queue::compute);
  }

  void download(std::byte* host, const std::byte* device, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    struct Copied {
      Piece* piece;
      std::size_t bytes;
    };
    std::array<Copied, 2> flight{};
    std::size_t queued = 0;
    std::size_t begun = 0;
    std::size_t ended = 0;
    while (ended < begun || queued < bytes) {
      if (queued < bytes && begun - ended < flight.size()) {
        Piece& piece = next();
        const std::size_t part = std::min(bytes - queued, piece_bytes);
        driver::download(piece.data, device + queued, part);
        piece.done.record(driver::Queue::compute);
        flight[begun++ % flight.size()] = {&piece, part};
        queued += part;
        continue;
      }
      const Copied copied = flight[ended++ % flight.size()];
      copied.piece->done.wait();
      std::memcpy(host, copied.piece->data, copied.bytes);
      host += copied.bytes;
    }
  }

 private:
  static constexpr std::size_t piece_bytes = std::size_t{4} << 20;

  struct Piece {
    std::byte* data = nullptr;
    driver::Event done;
  };

  /// The piece that has been busy for longest, once it is free.
  Piece& next() {
    Piece& piece = pieces_[turn_++ % pieces_.size()];
    if (piece.data == nullptr) {
      piece.data = static_cast<std::byte*>(driver::allocate_pinned(piece_bytes));
      if (piece.data == nullptr) {
        throw Error("ERR_HARDBIT_MEMORY",
                    "The system has no pinned memory for copies to the GPU (4 MB); free some memory.");
      }
    }
    piece.done.wait();
    return piece;
  }

  std::mutex mutex_;
  std::array<Piece, 4> pieces_;
  std::size_t turn_ = 0;
  driver::Event before_;
  driver::Event after_;
};

void forbid_recording(const char* what) {
  if (!driver::capturing()) return;
  throw Error("ERR_HARDBIT_UNSUPPORTED", std::string(what) +
                                             " while operators are being recorded: a recorded sequence may "
                                             "not exchange data with the host.");
}

struct ReportSentence {
  const char* code;
  const char* sentence;
};
constexpr std::array<ReportSentence, 4> report_sentences = {{
    {"ERR_HARDBIT_LABELS", "A label of an earlier loss on the GPU is outside [0, classes)"},
    {"ERR_HARDBIT_ARGUMENT", "An index of an earlier gather on the GPU is outside the rows of its tensor"},
    {"ERR_HARDBIT_ARGUMENT", "A code of an earlier product on the GPU does not fit into its bits"},
    {"ERR_HARDBIT_ARGUMENT", "A place of an earlier pooling gradient on the GPU is outside its window"},
}};

/// All work has ended. The reports are taken back as they are thrown.
void throw_reports() {
  volatile std::uint32_t* const words = report_words();
  const ReportSentence* first = nullptr;
  for (std::size_t i = report_sentences.size(); i-- > 0;) {
    if (words[i] == 0) continue;
    words[i] = 0;
    first = &report_sentences[i];
  }
  if (first != nullptr) {
    throw Error(first->code,
                std::string(first->sentence) + "; what was computed from its result is without meaning.");
  }
}

}  // namespace

std::uint32_t* report_words() {
  static std::uint32_t* const words = [] {
    constexpr std::size_t bytes = report_sentences.size() * sizeof(std::uint32_t);
    void* const data = driver::allocate_pinned(bytes);
    if (data == nullptr) {
      throw Error("ERR_HARDBIT_MEMORY", "The system has no pinned memory for the GPU; free some memory.");
    }
    std::memset(data, 0, bytes);
    return static_cast<std::uint32_t*>(data);
  }();
  return words;
}

void upload(void* device, const void* host, std::size_t bytes, Order order) {
  if (bytes == 0) return;
  forbid_recording("Data is written to the GPU");
  Staging::instance().upload(static_cast<std::byte*>(device), static_cast<const std::byte*>(host), bytes,
                             order);
}

void download(void* host, const void* device, std::size_t bytes) {
  forbid_recording("Data is read from the GPU");
  if (bytes > 0) {
    Staging::instance().download(static_cast<std::byte*>(host), static_cast<const std::byte*>(device), bytes);
  }
  throw_reports();
}

void copy(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0) driver::copy(to, from, bytes);
}

void fill(void* device, int byte, std::size_t bytes) {
  if (bytes > 0) driver::fill(device, byte, bytes);
}

void synchronize() {
  forbid_recording("The GPU is waited for");
  driver::synchronize();
  throw_reports();
}

}  // namespace hardbit::cuda
