#!/bin/sh
# Configures, builds and runs consumer/ in a build folder of its own: consumer.sh CMAKE FOLDER GENERATOR OPTIONS...
# By hand and not by ctest --build-and-test, which leaves CC in the environment: crates that compile C would be built anew for it.
set -eu
cmake=$1 folder=$2 generator=$3
shift 3
rm -rf "$folder"
"$cmake" -S "$(dirname "$0")/consumer" -B "$folder" -G "$generator" -DCMAKE_BUILD_TYPE=Debug "$@"
"$cmake" --build "$folder"
cd "$folder"
ctest -C Debug --output-on-failure
