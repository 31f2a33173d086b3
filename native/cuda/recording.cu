#include <utility>

#include "cuda/kernel.h"
#include "cuda/recording.h"
#include "runtime/error.h"

namespace hardbit::cuda {
namespace {

thread_local Slots* slots_of_thread = nullptr;

struct PartWords {
  std::uint64_t at[Slots::part_words];
};

__global__ void __launch_bounds__(Slots::part_words) write_part(PartWords words, std::uint64_t* to) {
  to[threadIdx.x] = words.at[threadIdx.x];
}

}  // namespace

Slots* recording_slots() { return slots_of_thread; }

const void* Slots::add(std::size_t words, Value value) {
  if (parts_.empty() || parts_.back()->used + words > part_words) {
    parts_.push_back(std::make_unique<Part>(pool_));
  }
  Part& part = *parts_.back();
  const std::size_t word = std::exchange(part.used, part.used + words);
  part.slots.push_back({word, std::move(value)});
  return part.memory.data() + word;
}

void Slots::write(const Run& run) const {
  for (const auto& part : parts_) {
    PartWords words{};
    for (const Slot& slot : part->slots) slot.value(run, words.at + slot.word);
    launch(write_part, dim3(1), dim3(part_words), 0, words, part->memory.data());
  }
}

void RecordedGraph::run(const Run& run) const {
  if (driver::capturing()) {
    throw Error(
        "ERR_HARDBIT_UNSUPPORTED",
        "A recorded sequence is run while operators are being recorded; finish that recording first.");
  }
  slots_->write(run);
  graph_.run();
}

Recording::Recording()
    : pool_(std::make_shared<Pool>(Pool::Use::recording)), slots_(std::make_unique<Slots>()) {
  if (driver::capturing()) {
    throw Error("ERR_HARDBIT_ARGUMENT", "Operators are being recorded already; finish that recording first.");
  }
  report_words();
  driver::begin_capture();
  set_recording_pool(pool_);
  slots_of_thread = slots_.get();
}

driver::Graph Recording::end() {
  finished_ = true;
  set_recording_pool(nullptr);
  slots_of_thread = nullptr;
  return driver::end_capture();
}

RecordedGraph Recording::finish() {
  RecordedGraph recorded;
  recorded.graph_ = end();
  recorded.slots_ = std::move(slots_);
  recorded.pool_ = std::move(pool_);
  return recorded;
}

Recording::~Recording() {
  if (finished_) return;
  try {
    end();
  } catch (const Error&) {
    // Whatever made the recording fail is in flight already.
  }
}

}  // namespace hardbit::cuda
