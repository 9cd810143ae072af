#!/bin/sh
# Compiles and runs a program with the flags that pkg-config gives: pkg_config.sh PREFIX SOURCE COMPILER
set -eu
PKG_CONFIG_PATH=$(find "$1" -name pkgconfig)
export PKG_CONFIG_PATH
case $(pkg-config --cflags --libs planrt) in *"$1"*) ;; *) echo "planrt.pc does not lead into $1" >&2 && exit 1 ;; esac
# shellcheck disable=SC2046 # flags are words
"$3" "$2" -o pkg_config_consumer $(pkg-config --cflags --libs planrt) -Wl,-rpath,"$(pkg-config --variable=libdir planrt)"
./pkg_config_consumer

# The static library, with what it needs; what links it exports nothing of it.
# shellcheck disable=SC2046
"$3" "$2" -rdynamic -o pkg_config_static $(pkg-config --static --cflags --libs planrt | sed 's/-lplanrt/-l:libplanrt.a/')
./pkg_config_static
"$(dirname "$0")/consumer/exports.sh" ./pkg_config_static
