#!/bin/sh
# The README's programs compile as they stand there and run: readme.sh README PREFIX MODELS CC CXX
set -eu
readme=$1 prefix=$2 models=$3 cc=$4 cxx=$5
# The block of a language that is its N-th: block LANGUAGE N
block() { awk -v start="\`\`\`$1" -v wanted="$2" '$0 == "```" { on = 0 } on { print } $0 == start { on = ++count == wanted }' "$readme"; }
flags="-I$prefix/include -L$prefix/lib -Wl,-rpath,$prefix/lib"
block c 1 >first.c
block cpp 1 >first.cpp
block cpp 2 >scan.cpp
$cc -std=c11 -Wall -Wextra -Wpedantic -Werror first.c $flags -lplanrt -o first_c
for program in first scan; do
  $cxx -std=c++17 -Wall -Wextra -Wpedantic -Werror $program.cpp $flags -lplanrt -o ${program}_cpp
done
./first_c "$models/small.onnx"
./first_cpp "$models/small.onnx"
! ./first_c no_such_file.plan

rm -rf scan_model && mkdir scan_model
cp "$models/tiny.onnx" scan_model
echo '{"planrt_recipe": 1, "tiling": {"patch": [8, 8, 8]}, "decision": {"labels": [0, 1]}}' >scan_model/recipe.json
# A NIfTI-1 header of 16x16x16 voxels of uint8, 1 mm each, and the voxels.
{
  printf '\134\001\000\000' && head -c 36 /dev/zero
  printf '\003\000\020\000\020\000\020\000\001\000\001\000\001\000\001\000' && head -c 14 /dev/zero
  printf '\002\000\010\000\000\000\000\000\200\077\000\000\200\077\000\000\200\077\000\000\200\077' && head -c 16 /dev/zero
  printf '\000\000\260\103' && head -c 232 /dev/zero
  printf 'n+1\000\000\000\000\000' && head -c 4096 /dev/urandom
} >scan.nii
./scan_cpp scan_model scan.nii mask.nii
[ "$(wc -c <mask.nii)" = 4448 ]
