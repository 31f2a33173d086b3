#!/usr/bin/env bash
# The CUDA back end by nvcc, and what a machine without a GPU can say of it: it compiles, hot kernels keep their registers, and
# the addon loads, tells why there is no GPU, and computes on the CPU. It is built for Hopper (others by HARDBIT_CUDA_ARCHITECTURES, as
# CMake names them). The sources whose code depends on the generation, since they reach inline assembly, are then compiled for each
# further one as well, without the host's half: to the PTX of the first generation that has what they use, and from there by ptxas
# for each (HARDBIT_CUDA_FURTHER="80:80,86,89,90 100:100,120" names others).
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v nvcc >/dev/null; then
  echo 'cuda-build: nvcc is missing here; not built.'
  exit 0
fi
export HARDBIT_CUDA_ARCHITECTURES=${HARDBIT_CUDA_ARCHITECTURES:-90a-real}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! node scripts/build.mjs --cuda >"$log" 2>&1; then
  tail -n 60 "$log" >&2
  exit 1
fi
# How they are compiled, one command a line.
commands=$(HARDBIT_CUDA_FURTHER=${HARDBIT_CUDA_FURTHER-80:80,86,89,90 100:100,120} node --input-type=module -e "
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
const text = new Map();
const read = (file) => text.get(file) ?? text.set(file, readFileSync('native/' + file, 'utf8')).get(file);
const depends = (file, seen = new Set()) => {
  if (seen.has(file) || file.includes('/emulation/')) return false;
  seen.add(file);
  if (/\\basm\\b|__CUDA_ARCH/.test(read(file))) return true;
  return [...read(file).matchAll(/#include \"(cuda\/[^\"]+)\"/g)].some(([, header]) => depends(header, seen));
};
for (const { command, file } of JSON.parse(readFileSync('build/cmake/compile_commands.json', 'utf8'))) {
  if (!file.endsWith('.cu') || !depends('cuda/' + basename(file))) continue;
  const base = command
    .replace(/^.*?(?=\S*nvcc\b)/, '')
    .replace(/ \\\"?--generate-code=\S+| -M[DTF]( \S+\.(o|d))?| -c(?= )| -o \S+/g, '');
  for (const further of process.env.HARDBIT_CUDA_FURTHER.split(' ').filter(Boolean)) {
    const [virtual, real] = further.split(':');
    const codes = real.split(',').map((sm) => 'sm_' + sm);
    console.log(base + ' -gencode arch=compute_' + virtual + ',\\\"code=[' + codes + ']\\\" -fatbin -o /dev/null');
  }
}
")
if [ -n "$commands" ] && ! xargs -d '\n' -n 1 -P "$(nproc)" bash -c <<<"$commands" >>"$log" 2>&1; then
  grep -v 'spilled' "$log" | tail -n 60 >&2
  echo 'cuda-build: a further generation does not compile.' >&2
  exit 1
fi
# ptxas reads registers that do not fit. The float kernels with the largest tiles may (a few bytes), and what lays out operands, once a
# call; products of bits and bytes may not, but for two registers (Blackwell's code has other needs).
if grep -E 'spilled.* ([1-9][0-9]+|9) bytes spill stores' "$log" | grep -E 'band_kernel|weight_stationary_kernel|product_kernel|input_gradient|weight_gradient|patch_gradient|multiply_rows|few_channels'; then
  echo 'cuda-build: the kernels above spill registers.' >&2
  exit 1
fi
node --input-type=module -e "
import { loadAddon } from './dist/addon.js';
const core = loadAddon({ what: 'native core', file: 'hardbit.node', variable: 'HARDBIT_ADDON', cure: 'npx hardbit build' });
const { cuda } = core.info();
if (!cuda.built) throw new Error('the addon was built without CUDA');
if (cuda.devices.length === 0) {
  if (cuda.reason === '') throw new Error('no GPU, and no reason');
  let code;
  try { core.tensor('f32', [2], new Float32Array(2), 'cuda'); } catch (error) { code = error.code; }
  if (code !== 'ERR_HARDBIT_NO_CUDA') throw new Error('a tensor without a GPU: ' + code);
}
const sum = core.add(core.tensor('f32', [1], Float32Array.of(1)), core.tensor('f32', [1], Float32Array.of(2)));
if (sum.read()[0] !== 3) throw new Error('the CPU path is broken');
console.log(cuda.reason || cuda.devices.map(({ name }) => name).join(', '));
"
echo '1 passed, 0 failed'
