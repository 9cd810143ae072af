#!/bin/sh
# The README's first programs compile as they stand there and run: readme.sh README PREFIX MODEL CC CXX
set -eu
readme=$1 prefix=$2 model=$3 cc=$4 cxx=$5
block() { awk -v start="\`\`\`$1" '$0 == "```" { on = 0 } on { print } $0 == start { on = 1 }' "$readme"; }
flags="-I$prefix/include -L$prefix/lib -Wl,-rpath,$prefix/lib"
block c >first.c
block cpp >first.cpp
$cc -std=c11 -Wall -Wextra -Wpedantic -Werror first.c $flags -lplanrt -o first_c
$cxx -std=c++17 -Wall -Wextra -Wpedantic -Werror first.cpp $flags -lplanrt -o first_cpp
./first_c "$model"
./first_cpp "$model"
! ./first_c no_such_file.plan
