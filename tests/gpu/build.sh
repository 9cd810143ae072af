#!/bin/sh
# Builds plans on a GPU with the full TensorRT: build.sh PLANRT OUT MODEL.onnx[:SHAPES]... [-- OPTION...], SHAPES being what
# --optShapes takes, OPTION what else planrt build takes, --tensorrt=FOLDER say. Each model is built in float32, TF32,
# float16 and "best", in float16 twice more, with a timing cache that begins empty and with the one that that leaves, and once
# without the kernels of cuBLAS and cuDNN. Where it has InstanceNormalization, that is taken apart, too.
# Prints a table: seconds that the build took, bytes of the plan, what planrt bench measured of it. The layers with their times
# are in OUT/NAME.layers. KINDS in the environment, "fp32 fp16 decomposed" say, builds these only.
set -u
planrt=$1 out=$2
shift 2
models=
while [ $# -gt 0 ] && [ "$1" != -- ]; do models="$models $1"; shift; done
[ $# -gt 0 ] && shift
mkdir -p "$out"
failed=0
kinds=${KINDS:-fp32 tf32 best fp16 cold warm own decomposed plugin}

build() { # kind, file, options...
  kind=$1 onnx=$2
  shift 2
  case " $kinds " in *" $kind "*) ;; *) return ;; esac
  name=$(basename "$onnx" .onnx)-$kind
  plan=$out/$name.plan
  rm -f "$plan"
  start=$(date +%s.%N)
  "$planrt" build --onnx="$onnx" --saveEngine="$plan" --profilingVerbosity=detailed "$@" > "$out/$name.log" 2>&1
  code=$?
  end=$(date +%s.%N)
  seconds=$(echo "$start $end" | awk '{ printf "%.1f", $2 - $1 }')
  if [ $code = 0 ] && "$planrt" bench "$plan" --useCudaGraph $tensorrt > "$out/$name.bench" 2>&1; then
    qps=$(sed -n 's/^Throughput: \(.*\) qps$/\1/p' "$out/$name.bench")
    compute=$(sed -n 's/^GPU Compute Time: .*median = \([0-9.]*\) ms.*/\1/p' "$out/$name.bench")
    printf '%-32s %8s s %12s bytes %10s runs/s %10s ms\n' "$name" "$seconds" "$(wc -c < "$plan")" "$qps" "$compute"
    "$planrt" inspect "$plan" --runs=20 $tensorrt > "$out/$name.layers" 2>&1 || failed=1
  else
    printf '%-32s %8s s  FAILED (%s): %s\n' "$name" "$seconds" "$code" "$(cat "$out/$name.log" "$out/$name.bench" 2>/dev/null | tail -n 1)"
    failed=1
  fi
}

tensorrt=
for option in "$@"; do case $option in --tensorrt=*) tensorrt=$option ;; esac; done
for model in $models; do
  onnx=${model%%.onnx*}.onnx
  shapes=${model#"$onnx"}
  shapes=${shapes:+--optShapes=${shapes#:}}
  cache=$out/$(basename "$onnx" .onnx).cache
  rm -f "$cache"
  build fp32 "$onnx" $shapes "$@"
  build tf32 "$onnx" --tf32 $shapes "$@"
  build best "$onnx" --best $shapes "$@"
  build fp16 "$onnx" --fp16 $shapes "$@"
  build cold "$onnx" --fp16 --timingCacheFile="$cache" $shapes "$@"
  build warm "$onnx" --fp16 --timingCacheFile="$cache" $shapes "$@"
  build own "$onnx" --fp16 --tacticSources=-CUBLAS,-CUBLAS_LT,-CUDNN $shapes "$@"
  if "$planrt" inspect "$onnx" | grep -q '^InstanceNormalization '; then
    own=--tacticSources=-CUBLAS,-CUBLAS_LT,-CUDNN
    build decomposed "$onnx" --fp16 --instanceNormalization=decomposed $own $shapes "$@"
    build plugin "$onnx" --fp16 --instanceNormalization=plugin $shapes "$@"
  fi
done
exit $failed
