#!/bin/sh
# Builds the test double of TensorRT (double.cpp) for each version whose official headers are at
# hand, and prints the libraries' paths: OUT/11.4.0/libnvinfer.so.11, OUT/1.7.1/libtensorrt_rtx.so.1, …
#
#     build.sh OUT
#
# The headers of TensorRT 11.4 and of RTX 1.5 to 1.7 come with the source of the crate trtx-sys,
# which cargo fetches. TENSORRT_HEADERS may name more directories with headers, separated by
# colons, such as include/ of other releases of https://github.com/NVIDIA/TensorRT.
set -eu

out=$1
here=$(cd "$(dirname "$0")" && pwd)
cxx=${CXX:-c++}

stock=$("$here/../headers/path.sh")

build() {
    headers=$1
    version=$({
        echo '#include "NvInferVersion.h"'
        echo 'is NV_TENSORRT_MAJOR.NV_TENSORRT_MINOR.NV_TENSORRT_PATCH'
    } | "$cxx" -E -P -I "$headers" -x c++ - | sed -n 's/^is //p' | tr -d ' ')
    case $version in
        1.*) name=libtensorrt_rtx.so.1 ;;
        *) name=libnvinfer.so.${version%%.*} ;;
    esac
    library=$out/$version/$name
    if [ ! "$library" -nt "$here/double.cpp" ] || [ ! "$library" -nt "$here/build.sh" ]; then
        mkdir -p "$out/$version"
        # Several doubles live in one process: nothing of one may be taken for the other's.
        "$cxx" -std=c++17 -O2 -g -Wall -Wextra -Werror -Wno-deprecated-declarations \
            -shared -fPIC -fvisibility=hidden -fno-gnu-unique -Wl,-soname,"$name" \
            -isystem "$headers" -isystem "$stock" "$here/double.cpp" -o "$library.$$" >&2
        mv "$library.$$" "$library"
    fi
    echo "$library"
}

for release in TRT-Enterprise-11.4 TRT-RTX-1.5 TRT-RTX-1.6 TRT-RTX-1.7; do
    build "$stock/$release"
done
IFS=:
for directory in ${TENSORRT_HEADERS:-}; do
    unset IFS
    build "$directory"
done
