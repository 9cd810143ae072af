#!/bin/sh
# Builds plans on a GPU with the full TensorRT: build.sh PLANRT OUT MODEL.onnx[:SHAPES]... [-- OPTION...], SHAPES being what
# --optShapes takes, OPTION what else planrt build takes, --tensorrt=FOLDER say. Each model is built in float32, TF32,
# float16 and "best", and in float16 twice more: with a timing cache that begins empty, and with the one that that leaves.
# Prints a table: seconds that the build took, bytes of the plan, whether it loads here.
set -u
planrt=$1 out=$2
shift 2
models=
while [ $# -gt 0 ] && [ "$1" != -- ]; do models="$models $1"; shift; done
[ $# -gt 0 ] && shift
mkdir -p "$out"
failed=0

build() { # name, file, options...
  name=$1 onnx=$2
  shift 2
  plan=$out/$name.plan
  rm -f "$plan"
  start=$(date +%s.%N)
  "$planrt" build --onnx="$onnx" --saveEngine="$plan" "$@" > "$out/$name.log" 2>&1
  code=$?
  end=$(date +%s.%N)
  seconds=$(echo "$start $end" | awk '{ printf "%.1f", $2 - $1 }')
  if [ $code = 0 ] && "$planrt" doctor "$plan" $tensorrt > "$out/$name.doctor" 2>&1; then
    printf '%-32s %8s s %12s bytes  runs\n' "$name" "$seconds" "$(wc -c < "$plan")"
  else
    printf '%-32s %8s s  FAILED (%s): %s\n' "$name" "$seconds" "$code" "$(tail -n 1 "$out/$name.log")"
    failed=1
  fi
}

tensorrt=
for option in "$@"; do case $option in --tensorrt=*) tensorrt="--tensorrt ${option#*=}" ;; esac; done
for model in $models; do
  onnx=${model%%.onnx*}.onnx
  shapes=${model#"$onnx"}
  model_name=$(basename "$onnx" .onnx)
  shapes=${shapes:+--optShapes=${shapes#:}}
  build "$model_name-fp32" "$onnx" $shapes "$@"
  build "$model_name-tf32" "$onnx" --tf32 $shapes "$@"
  build "$model_name-best" "$onnx" --best $shapes "$@"
  build "$model_name-fp16" "$onnx" --fp16 $shapes "$@"
  rm -f "$out/$model_name.cache"
  build "$model_name-fp16-cold" "$onnx" --fp16 --timingCacheFile="$out/$model_name.cache" $shapes "$@"
  build "$model_name-fp16-warm" "$onnx" --fp16 --timingCacheFile="$out/$model_name.cache" $shapes "$@"
done
exit $failed
