#!/usr/bin/env bash
# Runs each fuzz target for so many seconds, two side by side, from its committed corpus: run.sh SECONDS OUT
# What it finds anew goes to OUT, which later runs start from too; an input that fails lies in OUT/TARGET-*. Needs no cargo-fuzz. The
# targets without the CPU engine run under AddressSanitizer where there is a nightly toolchain; those with it take tract as it is
# compiled for the library, since compiling it once more would take longer than all that is fuzzed here.
set -euo pipefail
seconds=$1
mkdir -p "$2" && out=$(cd "$2" && pwd)
cd "$(dirname "$0")"

# Our own crates are watched.
cat >"$out/rustc" <<'W'
#!/bin/sh
case " $* " in
*" --crate-name build_script"*) ;;
*" --crate-name planrt"* | *" --crate-name tensorrt_sys "* | *"fuzz_targets/"*)
  set -- "$@" --cfg fuzzing -Cdebug-assertions -Coverflow-checks -Cpasses=sancov-module $SANITIZER
  for argument in level=4 inline-8bit-counters pc-table trace-compares; do
    set -- "$@" -Cllvm-args=-sanitizer-coverage-$argument
  done ;;
esac
exec "$@"
W
chmod +x "$out/rustc"

export SANITIZER=
toolchain=()
if rustc +nightly --version >/dev/null 2>&1; then
  toolchain=(+nightly)
  SANITIZER='-Zsanitizer=address -Cunsafe-allow-abi-mismatch=sanitizer'
else
  echo "there is no nightly toolchain: fuzzing goes without AddressSanitizer"
fi
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTC_WRAPPER=$out/rustc cargo "${toolchain[@]}" build --quiet --release --locked --bins --target "$host" --target-dir "$out/cargo"

# With the CPU engine: the library's own tract, our crates compiled anew beside it, the targets linked by hand.
export SANITIZER=
cargo build --quiet --release --locked --lib --target-dir "$out/stable" # brings libFuzzer
(cd .. && RUSTC_WORKSPACE_WRAPPER=$out/rustc cargo rustc --quiet --release --locked --lib --crate-type rlib)
tract=$(cd .. && cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/release
mkdir -p "$out/cpu"
cp "$tract/libplanrt.rlib" "$out/cpu/"
libfuzzer=$(find "$out/stable/release/deps" -name 'liblibfuzzer_sys-*.rlib' -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2)
runtime=$(find "$out/stable/release/build" -name 'libfuzzer.a' -printf '%T@ %h\n' | sort -n | tail -1 | cut -d' ' -f2)
compile() {
  "$out/rustc" rustc --edition 2024 -O -Cdebuginfo=line-tables-only -L "dependency=$tract/deps" -L "dependency=$out/stable/release/deps" \
    -L "native=$runtime" "$@"
}
compile --crate-name planrt_fuzz --crate-type rlib src/lib.rs --extern "planrt=$out/cpu/libplanrt.rlib" -o "$out/cpu/libplanrt_fuzz.rlib"
for name in onnx tensors; do
  compile --crate-name "$name" "fuzz_targets/$name.rs" -L "dependency=$out/cpu" --extern "planrt_fuzz=$out/cpu/libplanrt_fuzz.rlib" \
    --extern "libfuzzer_sys=$libfuzzer" -o "$out/cpu/$name"
done

run() { # name, program
  mkdir -p "$out/corpus/$1"
  ASAN_OPTIONS=detect_leaks=0 "$2" "$out/corpus/$1" "corpus/$1" -max_total_time="$seconds" \
    -artifact_prefix="$out/$1-" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 >"$out/$1.log" 2>&1 ||
    { tail -40 "$out/$1.log" && return 1; }
  echo "$1: $(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$1.log") inputs in $seconds seconds, none failed"
}
failed=0
for pair in "$out/cargo/$host/release/plan $out/cpu/onnx" "$out/cargo/$host/release/options $out/cpu/tensors"; do
  read -r first second <<<"$pair"
  run "$(basename "$first")" "$first" & waited=$!
  run "$(basename "$second")" "$second" || failed=1
  wait $waited || failed=1
done
exit $failed
