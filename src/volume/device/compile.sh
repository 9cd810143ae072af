#!/usr/bin/env bash
# Compiles kernels.cu into kernels.ptx; with --verify it says whether that is what lies there. For an old version of both
# languages: newer drivers take it, and older ones take no newer.
set -euo pipefail
cd "$(dirname "$0")"
compiler=clang++-19
if ! command -v $compiler >/dev/null; then
  [ "${1:-}" = --verify ] || { echo "there is no $compiler: apt-get install clang-19" >&2; exit 1; }
  echo "kernels.ptx: not compared with its source, there is no $compiler"
  exit 0
fi
made=$(mktemp) && trap 'rm -f "$made"' EXIT
# Products are rounded before they are added, on the device as on the host.
$compiler -x cuda --cuda-device-only --cuda-gpu-arch=sm_50 -nocudainc -nocudalib -Xclang -target-feature -Xclang +ptx60 \
  -std=c++17 -O3 -ffp-contract=off -Wall -Wextra -Werror -S -o "$made" kernels.cu
if [ "${1:-}" = --verify ]; then
  cmp -s "$made" kernels.ptx || { echo 'kernels.ptx is not what kernels.cu says: run make kernels, and commit it' >&2; exit 1; }
else
  cat "$made" >kernels.ptx
fi
