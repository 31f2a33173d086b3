#!/usr/bin/env bash
# The C++ tests, on the CPU.
set -euo pipefail
cd "$(dirname "$0")/.."

node scripts/build.mjs --tests

source scripts/side-by-side.sh
halves build/cmake/Release/hardbit_tests --gtest_brief=1
# Where the CPU does not multiply bf16 but has AVX-512, its roundings can be had.
emulated_bf16() { HARDBIT_BF16=emulate build/cmake/Release/hardbit_tests --gtest_brief=1 --gtest_filter='BinaryGradient*'; }
side_by_side half_1 half_2 emulated_bf16
