#!/usr/bin/env bash
# The CUDA back end on a machine without a GPU: its kernels are compiled for the CPU, which plays the GPU. Runs the C++
# tests of the operators there, and the mocha tests of test/cuda.
set -euo pipefail
cd "$(dirname "$0")/.."

node scripts/build.mjs --emulate --tests

source scripts/cuda-tests.sh

status=0
# A GPU's memory is touched by what is queued alone.
HARDBIT_EMULATION_GUARD=1 HARDBIT_TEST_DEVICE=cuda build/emulate/Release/hardbit_tests --gtest_brief=1 \
  --gtest_filter="-$cpu_only:$in_place" || status=1
HARDBIT_TEST_DEVICE=cuda build/emulate/Release/hardbit_tests --gtest_brief=1 --gtest_filter="$in_place" || status=1

HARDBIT_EMULATION_GUARD=1 HARDBIT_ADDON=$PWD/build/emulate/Release/hardbit.node \
  HARDBIT_PACKED_ADDON=$PWD/build/emulate/Release/hardbit_packed.node \
  node node_modules/mocha/bin/mocha.js --timeout 120000 'test/cuda/*.test.ts' || status=1
exit $status
