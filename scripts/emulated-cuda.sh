#!/usr/bin/env bash
# The CUDA back end on a machine without a GPU: its kernels are compiled for the CPU, which plays the GPU. Runs the C++
# tests of the operators there, and the mocha tests of test/cuda.
set -euo pipefail
cd "$(dirname "$0")/.."

node scripts/build.mjs --emulate --tests

source scripts/cuda-tests.sh
source scripts/side-by-side.sh

export HARDBIT_TEST_DEVICE=cuda
halves build/emulate/Release/hardbit_tests --gtest_brief=1 --gtest_filter="-$cpu_only:$in_place"
in_place() { build/emulate/Release/hardbit_tests --gtest_brief=1 --gtest_filter="$in_place"; }
# A GPU's memory is touched by what is queued alone.
guarded_1() { HARDBIT_EMULATION_GUARD=1 half_1; }
guarded_2() { HARDBIT_EMULATION_GUARD=1 half_2; }
typescript() {
  HARDBIT_EMULATION_GUARD=1 HARDBIT_ADDON=$PWD/build/emulate/Release/hardbit.node \
    HARDBIT_PACKED_ADDON=$PWD/build/emulate/Release/hardbit_packed.node \
    node node_modules/mocha/bin/mocha.js --parallel --jobs 2 --timeout 240000 'test/cuda/*.test.ts'
}
side_by_side guarded_1 guarded_2 in_place typescript
