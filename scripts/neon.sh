#!/usr/bin/env bash
# The NEON kernels on a machine that is not AArch64: cross-builds the core and its C++ tests, and runs those that the
# instruction set can change under qemu's user-mode emulation.
#
#   bash scripts/neon.sh [GoogleTest options]
#
# The core is built without oneDNN (plain loops stand in) and without the addon, neither of which this is about. An
# emulated run is ten to fifty times slower, so a filter picks the suites that go through the kernel tables on their NEON
# rows: the tables' own tests, bits, discretizer and signs, the binary products and their driver, and the engine of
# deployed networks. The rest is the same C++ as on x86, where it is tested, and so are the generic rows; a large shape more
# would take a minute of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

filter='*Kernel*:*Product*:*Limits*:*Bits*:*Binary*:*Codes*:*Discretize*:*Sign*:*PackedEngine*:*PackedPrediction*:*OnEveryRow*'
filter+=':-*generic*:BatchNormSign*:*LargeShapes*:*DeathTest*'

# Files without such suites.
without='/(allocator|attack.*|batch_norm.*|concurrency|conv2d|dense|dropout|elementwise|external_memory|fold|loss|optimizer|ordered_float|packed_sha256'
without+='|random|readers|rows|runtime|tensor)_test'

packages='Debian and Ubuntu: apt-get install g++-aarch64-linux-gnu qemu-user googletest'
fail() {
  echo "hardbit: $1 [$2]" >&2
  exit 1
}

compiler=aarch64-linux-gnu-g++
command -v $compiler >/dev/null || fail "$compiler is missing, which builds for AArch64; install it ($packages)." ERR_HARDBIT_UNSUPPORTED
emulator=$(command -v qemu-aarch64 || command -v qemu-aarch64-static || true)
[ -n "$emulator" ] || fail "qemu-aarch64 is missing, which runs AArch64 programs; install it ($packages)." ERR_HARDBIT_UNSUPPORTED
googletest=/usr/src/googletest
[ -f $googletest/CMakeLists.txt ] || fail "GoogleTest's sources are missing from $googletest; install them ($packages)." ERR_HARDBIT_UNSUPPORTED

folder=build/neon
mkdir -p "$folder"
cmake -S . -B "$folder" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=$compiler \
  -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc -DHARDBIT_ONEDNN=OFF -DHARDBIT_TESTS=ON \
  -DHARDBIT_GTEST_SOURCE=$googletest "-DHARDBIT_TESTS_WITHOUT=$without" >"$folder/build.log" 2>&1 &&
  cmake --build "$folder" --target hardbit_tests --parallel "$(nproc)" >>"$folder/build.log" 2>&1 || {
  tail -n 40 "$folder/build.log" >&2
  fail 'The tests do not build for AArch64; the reason stands above.' ERR_HARDBIT_NOT_BUILT
}

source scripts/side-by-side.sh
export HARDBIT_NUM_THREADS=2
halves "$emulator" -L /usr/aarch64-linux-gnu "$folder/hardbit_tests" --gtest_brief=1 "--gtest_filter=$filter" "$@"
side_by_side half_1 half_2
