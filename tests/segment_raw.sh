#!/bin/sh
# Segments voxels in a plain file, and ends as it says where there is something wrong: segment_raw.sh PROGRAM MODELS
set -eu
program=$1
rm -rf raw && mkdir -p raw/model
cp "$2/tiny.onnx" raw/model
echo '{"planrt_recipe": 1, "tiling": {"patch": [8, 8, 8]}, "decision": {"labels": [0, 1]}}' >raw/model/recipe.json
cd raw
head -c 4096 /dev/urandom >scan.raw
"$program" model scan.raw int8 16x16x16 1x1x1.5 labels.raw | grep 'of 4096 voxels have a label'
[ "$(wc -c <labels.raw)" = 4096 ]
code=0 && "$program" model scan.raw int16 16x16x16 1x1x1.5 none.raw || code=$?
[ $code = 1 ] && [ ! -e none.raw ] || { echo "a file too short: $code"; exit 1; }
code=0 && "$program" model scan.raw int8 16x16 1x1x1.5 none.raw || code=$?
[ $code = 2 ] || { echo "no extents: $code"; exit 1; }
