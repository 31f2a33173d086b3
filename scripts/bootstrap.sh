#!/usr/bin/env bash
# Makes a checkout ready: installs what is missing on the system, the npm packages, and builds. Run it as often as
# you like. With --dev also what the tests need (GoogleTest), with --ci also what .ci/run needs (clang with its
# sanitizers, fuzzer and OpenMP, clang-format, ccache, and a cross compiler and emulator of AArch64).
set -euo pipefail
cd "$(dirname "$0")/.."

dev=no ci=no
for option in "$@"; do
  case $option in
    --dev) dev=yes ;;
    --ci) dev=yes ci=yes ;;
    *) echo "bootstrap: unknown option $option; known: --dev, --ci" >&2; exit 1 ;;
  esac
done

# -- Node

if ! command -v node >/dev/null; then
  echo "bootstrap: Node.js is missing; install version 20.19 or newer (https://nodejs.org) and run this again." >&2
  exit 1
fi
if ! node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)'; then
  echo "bootstrap: Node.js $(node --version) is too old; install version 20.19 or newer (https://nodejs.org)." >&2
  exit 1
fi

# -- system packages

compiler=${CXX:-$(command -v c++ || command -v g++ || command -v clang++ || true)}
has_header() { [ -n "$compiler" ] && echo "#include <$1>" | "$compiler" -E -x c++ - >/dev/null 2>&1; }

missing=()
command -v npm >/dev/null || missing+=(npm)
[ -n "$compiler" ] || missing+=(compiler)
command -v make >/dev/null || command -v ninja >/dev/null || missing+=(make)
command -v cmake >/dev/null || missing+=(cmake)
has_header oneapi/dnnl/dnnl.hpp || missing+=(onednn)
if [ $dev = yes ]; then has_header gtest/gtest.h || missing+=(gtest); fi
if [ $ci = yes ]; then
  command -v clang-format >/dev/null || missing+=(clang-format)
  command -v ccache >/dev/null || missing+=(ccache)
  # Debian's numbered compilers stand beside, or in place of, the plain name.
  clang=$(compgen -c clang++ | grep -xE 'clang\+\+(-[0-9]+)?' | head -n 1 || true)
  [ -n "$clang" ] || missing+=(clang)
  if [ -z "$clang" ] || ! echo 'extern "C" int LLVMFuzzerTestOneInput(const char*, long) { return 0; }' |
    "$clang" -x c++ - -fsanitize=fuzzer,address -o /dev/null 2>/dev/null; then missing+=(clang-runtime); fi
  if [ -z "$clang" ] || ! echo 'int main() {}' | "$clang" -x c++ - -fopenmp=libomp -o /dev/null 2>/dev/null; then missing+=(libomp); fi
  if command -v apt-get >/dev/null; then
    command -v aarch64-linux-gnu-g++ >/dev/null || missing+=(aarch64)
    command -v qemu-aarch64 >/dev/null || command -v qemu-aarch64-static >/dev/null || missing+=(qemu)
    [ -f /usr/src/googletest/CMakeLists.txt ] || missing+=(googletest)
  else
    # Elsewhere a cross compiler comes without AArch64's C library.
    echo "bootstrap: the emulated NEON tests (npm run test:neon) need Debian's or Ubuntu's g++-aarch64-linux-gnu, qemu-user and googletest; not installed here." >&2
  fi
fi

if [ ${#missing[@]} -gt 0 ]; then
  if command -v apt-get >/dev/null; then
    declare -A package=([npm]=npm [compiler]=g++ [make]=make [cmake]=cmake [onednn]=libdnnl-dev [gtest]=libgtest-dev [clang-format]=clang-format [ccache]=ccache
      [clang]=clang [clang-runtime]=libclang-rt-dev [libomp]=libomp-dev
      [aarch64]=g++-aarch64-linux-gnu [qemu]=qemu-user [googletest]=googletest)
    update='apt-get update -q' install='apt-get install -q -y --no-install-recommends'
  elif command -v dnf >/dev/null; then
    declare -A package=([npm]=npm [compiler]=gcc-c++ [make]=make [cmake]=cmake [onednn]=onednn-devel [gtest]=gtest-devel [clang-format]=clang-tools-extra [ccache]=ccache
      [clang]=clang [clang-runtime]=compiler-rt [libomp]=libomp-devel)
    update='true' install='dnf install -y'
  else
    echo "bootstrap: missing: ${missing[*]} (onednn is oneDNN with its headers); install them and run this again." >&2
    exit 1
  fi
  names=()
  for what in "${missing[@]}"; do names+=("${package[$what]}"); done
  as_root=''
  if [ "$(id -u)" != 0 ]; then
    as_root='sudo -n'
    if ! sudo -n true 2>/dev/null; then
      if [ "$update" = true ]; then command="sudo $install ${names[*]}"
      else command="sudo $update && sudo $install ${names[*]}"; fi
      echo "bootstrap: system packages are missing; run this, then run me again:" >&2
      echo "  $command" >&2
      exit 1
    fi
  fi
  echo "bootstrap: installing ${names[*]}"
  export DEBIAN_FRONTEND=noninteractive
  $as_root $update || echo "bootstrap: '$update' failed; trying with the package lists that are there" >&2
  $as_root $install "${names[@]}"
fi

# -- npm packages; the native build is ours, below, where a failure stops us

if ! cmp -s package-lock.json node_modules/.hardbit-lock; then
  echo "bootstrap: installing npm packages"
  HARDBIT_SKIP_BUILD=1 npm ci --no-audit --no-fund --loglevel=error >/dev/null
  cp package-lock.json node_modules/.hardbit-lock
fi

# -- build; both are incremental

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! node scripts/build.mjs >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
node_modules/.bin/tsc -p tsconfig.build.json
