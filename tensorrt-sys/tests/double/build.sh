#!/bin/sh
# Builds the test double of TensorRT (double.cpp) and that of its ONNX parser (parser.cpp) for each version whose official
# headers are at hand, and prints the paths of the former: OUT/11.4.0/libnvinfer.so.11, OUT/1.7.1/libtensorrt_rtx.so.1, …
#
#     build.sh OUT
#
# The headers of TensorRT 11.4 and of RTX 1.5 to 1.7 come with the source of the crate trtx-sys,
# which cargo fetches. TENSORRT_HEADERS may name more directories with headers, separated by
# colons, such as include/ of other releases of https://github.com/NVIDIA/TensorRT, with the NvOnnxParser.h of
# https://github.com/onnx/onnx-tensorrt in it where it lacks that.
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
        1.*) name=libtensorrt_rtx.so.1 parser=libtensorrt_onnxparser_rtx.so.1 ;;
        *) name=libnvinfer.so.${version%%.*} parser=libnvonnxparser.so.${version%%.*} ;;
    esac
    mkdir -p "$out/$version"
    compile "$name" double.cpp
    compile "$parser" parser.cpp
    echo "$out/$version/$name"
}

# Compiles a library of this version if something that it is made of is newer.
compile() {
    library=$out/$version/$1
    for source in "$here"/*.cpp "$here"/*.hpp "$here/build.sh"; do
        [ "$library" -nt "$source" ] && continue
        # Several doubles live in one process: nothing of one may be taken for the other's.
        "$cxx" -std=c++17 -O2 -g -Wall -Wextra -Werror -Wno-deprecated-declarations \
            -shared -fPIC -fvisibility=hidden -fno-gnu-unique -Wl,-soname,"$1" \
            -isystem "$headers" -isystem "$stock" "$here/$2" -o "$library.$$" >&2
        mv "$library.$$" "$library"
        break
    done
}

for release in TRT-Enterprise-11.4 TRT-RTX-1.5 TRT-RTX-1.6 TRT-RTX-1.7; do
    build "$stock/$release"
done
IFS=:
for directory in ${TENSORRT_HEADERS:-}; do
    unset IFS
    build "$directory"
done
