#!/usr/bin/env bash
# Runs each fuzz target for so many seconds, two side by side, from its committed corpus: run.sh SECONDS OUT
# What it finds anew goes to OUT, which later runs start from too; an input that fails lies in OUT/TARGET-*. Needs a nightly toolchain
# and no cargo-fuzz; where there is none it says so. Without WITH_CPU=no the targets of the CPU engine run as well.
set -euo pipefail
seconds=$1
mkdir -p "$2" && out=$(cd "$2" && pwd)
cd "$(dirname "$0")"
if ! rustc +nightly --version >/dev/null 2>&1; then
  echo "there is no nightly toolchain: nothing is fuzzed"
  exit 0
fi
target=$(rustc +nightly -vV | sed -n 's/^host: //p')
targets=(plan options)
features=()
[ "${WITH_CPU-}" = no ] || { targets+=(onnx tensors) && features=(--features cpu); }

# Our own crates are watched, and the rest compiled plainly: tract alone would take longer than all that is fuzzed here.
cat >"$out/rustc" <<'W'
#!/bin/sh
case " $* " in
*" --crate-name build_script"*) ;;
*" --crate-name planrt"* | *" --crate-name tensorrt_sys "* | *" fuzz_targets/"*)
  set -- "$@" --cfg fuzzing -Zsanitizer=address -Cunsafe-allow-abi-mismatch=sanitizer -Cdebug-assertions -Coverflow-checks \
    -Cpasses=sancov-module
  for argument in level=4 inline-8bit-counters pc-table trace-compares; do
    set -- "$@" -Cllvm-args=-sanitizer-coverage-$argument
  done ;;
esac
exec "$@"
W
chmod +x "$out/rustc"
RUSTC_WRAPPER=$out/rustc cargo +nightly build --quiet --release --locked --target "$target" --target-dir "$out/cargo" "${features[@]}"

run() {
  mkdir -p "$out/corpus/$1"
  ASAN_OPTIONS=detect_leaks=0 "$out/cargo/$target/release/$1" "$out/corpus/$1" "corpus/$1" -max_total_time="$seconds" \
    -artifact_prefix="$out/$1-" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 >"$out/$1.log" 2>&1 ||
    { tail -40 "$out/$1.log" && return 1; }
  echo "$1: $(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$1.log") inputs in $seconds seconds, none failed"
}
failed=0
for ((i = 0; i < ${#targets[@]}; i += 2)); do
  run "${targets[i]}" & first=$!
  run "${targets[i + 1]}" || failed=1
  wait $first || failed=1
done
exit $failed
