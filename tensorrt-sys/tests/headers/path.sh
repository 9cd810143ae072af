#!/bin/sh
# Prints the folder with TensorRT's official headers, a folder a release: TRT-Enterprise-11.4, TRT-RTX-1.7, …, and a
# stand-in for cuda_runtime_api.h beside them. They come with the source of the crate trtx-sys, which cargo fetches.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
crate=$(${CARGO:-cargo} metadata --locked --format-version 1 \
    --filter-platform x86_64-unknown-linux-gnu --manifest-path "$here/Cargo.toml" |
    tr ',' '\n' | sed -n 's|^"manifest_path":"\(.*/trtx-sys-[^/]*\)/Cargo.toml".*|\1|p' | head -n 1)
[ -n "$crate" ] || { echo "path.sh: cargo did not fetch trtx-sys" >&2; exit 1; }
echo "$crate/TensorRT-Headers"
