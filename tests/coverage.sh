#!/usr/bin/env bash
# Tells which lines of src/, openvino-c/src/ and tensorrt-sys/src/ Rust's own tests reach: coverage.sh OUT
# Only our crates are compiled anew for it. Needs llvm-profdata and llvm-cov of rustc's LLVM (Debian: llvm-22 for Rust 1.95, say);
# where there are none it says so.
set -euo pipefail
mkdir -p "$1" && out=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
beside=$(rustc --print target-libdir)/../bin # rustup's component llvm-tools
for tool in profdata cov; do
  found=$(command -v "llvm-$tool-$major" || command -v "$beside/llvm-$tool" || true)
  [ -n "$found" ] || { echo "there is no llvm-$tool-$major: coverage is not told" && exit 0; }
  declare "$tool=$found"
done
cat >"$out/rustc" <<'W'
#!/bin/sh
exec "$@" -Cinstrument-coverage
W
chmod +x "$out/rustc"
rm -f "$out"/*.profraw
RUSTC_WORKSPACE_WRAPPER=$out/rustc LLVM_PROFILE_FILE=$out/%m-%p.profraw \
  cargo test --quiet --release --workspace --locked --lib >"$out/tests.log" 2>&1 || { cat "$out/tests.log" && exit 1; }
mapfile -t programs < <(RUSTC_WORKSPACE_WRAPPER=$out/rustc cargo test --release --workspace --locked --lib --no-run \
  --message-format json 2>/dev/null | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
"$profdata" merge -sparse "$out"/*.profraw -o "$out/tests.profdata"
"$cov" report --instr-profile "$out/tests.profdata" "${programs[@]/#/--object=}" --sources src openvino-c/src tensorrt-sys/src >"$out/report.txt"
tail -1 "$out/report.txt" | awk '{ print "lines that Rust tests reach: " $10 " of " $8 }'
