#!/bin/sh
# The library under Rust's AddressSanitizer and ThreadSanitizer, without the CPU engine: sanitized.sh OUT
# makes OUT/address and OUT/thread with libplanrt.so.0 and the sanitizer's runtime, which a program links. Needs a nightly toolchain;
# where there is none it says so and makes nothing. The standard library is as it comes, without the sanitizers.
set -eu
out=$1
cd "$(dirname "$0")/.."
rm -rf "$out"/*/libplanrt.so.0
if ! libraries=$(rustc +nightly --print target-libdir 2>/dev/null); then
  echo "there is no nightly toolchain: the library is not tested under Rust's sanitizers"
  exit 0
fi
target=$(rustc +nightly -vV | sed -n 's/^host: //p')
for kind in address thread; do
  runtime=$(find "$libraries" -name "librustc*_rt.$(echo $kind | cut -c1)san.a")
  [ -n "$runtime" ] || { echo "the nightly toolchain has no runtime for -Zsanitizer=$kind: skipped" && continue; }
  RUSTFLAGS="-Zsanitizer=$kind -Cunsafe-allow-abi-mismatch=sanitizer" cargo +nightly build --quiet --release --locked --lib \
    --no-default-features --target "$target" --target-dir "$out/cargo/$kind"
  mkdir -p "$out/$kind"
  cp "$out/cargo/$kind/$target/release/libplanrt.so" "$out/$kind/libplanrt.so.0"
  cp "$runtime" "$out/$kind/libruntime.a"
done
