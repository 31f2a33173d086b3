#!/usr/bin/env bash
# The C++ tests under the thread sanitizer: clang, libomp with Archer, which tells the sanitizer where OpenMP
# synchronizes, and plain loops in oneDNN's place, whose own threads the sanitizer cannot follow.
#
#   bash scripts/thread-sanitizer.sh [GoogleTest options]
#
# First it makes sure that the tools work: a planted race must be found, and a correct program must pass.
set -euo pipefail
cd "$(dirname "$0")/.."

packages='Debian 12 and 13: apt-get install clang libclang-rt-dev libomp-dev'
fail() {
  echo "hardbit: $1 [ERR_HARDBIT_UNSUPPORTED]" >&2
  exit 1
}

# Debian's numbered compilers stand beside, or in place of, the plain name.
clang=''
for name in clang++ $(compgen -c clang++- | grep -E '^clang\+\+-[0-9]+$' | sort -t- -k2 -rnu); do
  if command -v "$name" >/dev/null; then
    clang=$name
    break
  fi
done
[ -n "$clang" ] || fail "clang is missing; install it with its runtime and OpenMP ($packages)."

folder=build/thread-sanitizer
mkdir -p "$folder"
archer=$(find -L "$(dirname "$("$clang" -print-file-name=libomp.so)")" /usr/lib/llvm-*/lib -maxdepth 1 -name libarcher.so 2>/dev/null | head -n 1)
[ -n "$archer" ] || fail "libarcher.so is missing, without which every OpenMP barrier looks like a race; install libomp ($packages)."
export OMP_TOOL_LIBRARIES=$archer
export TSAN_OPTIONS="allocator_may_return_null=1 halt_on_error=0 exitcode=66 ignore_noninstrumented_modules=1 ${TSAN_OPTIONS:-}"

# Each thread adds to its own slot, and one adds the slots up behind the loop's barrier; with RACE all add to one.
cat >"$folder/probe.cpp" <<'PROBE'
#include <omp.h>
#include <vector>
int main() {
  std::vector<long> slots(8 * 64), sum(1);
#pragma omp parallel num_threads(4)
  {
#pragma omp for
    for (int i = 0; i < 100000; ++i) {
#ifdef RACE
      sum[0] += i;
#else
      slots[static_cast<unsigned>(omp_get_thread_num()) * 64] += i;
#endif
    }
#pragma omp single
    for (int t = 0; t < 8; ++t) sum[0] += slots[static_cast<unsigned>(t) * 64];
  }
  return sum[0] == 0;
}
PROBE
compile=("$clang" -O1 -g -fopenmp=libomp -fsanitize=thread "$folder/probe.cpp")
if ! "${compile[@]}" -DRACE -o "$folder/racy" 2>"$folder/probe.log" || ! "${compile[@]}" -o "$folder/correct" 2>>"$folder/probe.log"; then
  cat "$folder/probe.log" >&2
  fail "$clang cannot build with the thread sanitizer and OpenMP; install its runtimes ($packages)."
fi
if "$folder/racy" >"$folder/racy.log" 2>&1 || ! grep -q 'data race' "$folder/racy.log"; then
  fail "The thread sanitizer did not find a planted race; its verdict would mean nothing."
fi
if ! "$folder/correct" >"$folder/correct.log" 2>&1; then
  cat "$folder/correct.log" >&2
  fail "The thread sanitizer calls a correct OpenMP program racy; its verdict would mean nothing."
fi
echo "A planted race is found, a correct program passes ($clang, $archer)."

cmake -S . -B "$folder/cmake" -DCMAKE_CXX_COMPILER="$clang" -DHARDBIT_SANITIZE_THREAD=ON -DHARDBIT_ONEDNN=OFF \
  -DHARDBIT_TESTS=ON "-DHARDBIT_TESTS_WITHOUT=/(external_memory|fold|float_product|kernels|packed_reader|packed_sha256|product_kernels|readers)_test" >"$folder/build.log" 2>&1 &&
  cmake --build "$folder/cmake" --target hardbit_tests --parallel "$(nproc)" >>"$folder/build.log" 2>&1 || {
  tail -n 40 "$folder/build.log" >&2
  echo 'hardbit: The tests do not build for the thread sanitizer; the reason stands above. [ERR_HARDBIT_NOT_BUILT]' >&2
  exit 1
}
# More threads than processors: more orders of events.
# Death tests fork, which the sanitizer does not follow. Kernels, the driver of binary layers and the reader run on the
# thread that calls them, and instrumented they take many minutes: the operators and the engine above them are what shares.
alone='*DeathTest*:*ProductKernel*:*FloatKernel*:Rows/ProductTest*:*FloatProduct*:PackedReader*:*DrawnNetworks*:*Fold*'
source scripts/side-by-side.sh
export HARDBIT_NUM_THREADS=4
halves "$folder/cmake/hardbit_tests" --gtest_brief=1 "--gtest_filter=-$alone" "$@"
side_by_side half_1 half_2
