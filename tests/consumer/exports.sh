#!/bin/sh
# What links the static library exports nothing of it, neither Rust's symbols nor planrt's: exports.sh FILE
set -eu
nm -D --defined-only "$1" | awk '{ print $3 }' >exported
if grep -E '^(_ZN|_R|rust_|__rust|planrt)' exported; then
  echo "$1 exports $(wc -l <exported) symbols, those above and more" >&2
  exit 1
fi
