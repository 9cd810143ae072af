#!/bin/sh
# Holds the shared library against what it promises a linker: library.sh LIBPLANRT_SO EXPORTS_TXT
set -eu
library=$1 exports=$2
failed=0
wrong() { echo "$library: $1" >&2; failed=1; }

nm -D --defined-only "$library" | awk '{ print $3 }' | LC_ALL=C sort >exported
diff -u "$exports" exported || wrong "exports other than the checked-in list (-: missing, +: too many)"

dynamic=$(readelf -dW "$library")
echo "$dynamic" | grep -q 'SONAME.*\[libplanrt\.so\.0\]' || wrong "SONAME is not libplanrt.so.0"
echo "$dynamic" | grep -q 'FLAGS_1.*NODELETE' || wrong "it can be unloaded: NODELETE is missing"
# CUDA and TensorRT are looked for when asked, never by the loader: nothing but the C runtime is needed.
needed=$(echo "$dynamic" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | grep -vE '^(lib(c|m|dl|rt|pthread|gcc_s)\.so\.[0-9]+|ld-linux.*)$' || true)
[ -z "$needed" ] || wrong "needs $needed"

# glibc 2.34 is that of RHEL 9, and what a library needs at least that is linked on a system newer than it.
newest=$(objdump -T "$library" | grep -o 'GLIBC_[0-9.]*' | sort -u -t_ -k2 -V | tail -1)
[ "$(printf '%s\n' "$newest" GLIBC_2.34 | sort -V | tail -1)" = GLIBC_2.34 ] ||
  wrong "needs $newest: $(objdump -T "$library" | grep "$newest" | awk '{ print $NF }' | tr '\n' ' ')"

segments=$(readelf -lW "$library")
echo "$segments" | grep 'GNU_STACK' | grep -q 'RW ' || wrong "asks for an executable stack"
readelf -SW "$library" | grep -q '\.debug_info' && wrong "holds debug symbols"
# What it takes on a disk and in an installer, as cargo's profile release makes it for x86-64.
most=26000000
size=$(stat -c %s "$library")
[ "$size" -le $most ] || wrong "has $size bytes, more than $most"
exit $failed
