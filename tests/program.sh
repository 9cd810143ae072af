#!/bin/sh
# The planrt program and its exit codes: program.sh PLANRT MODELS
set -u
planrt=$1 models=$2 failed=0

expect() { # exit code, text in what it prints, arguments...
  code=$1 text=$2
  shift 2
  said=$("$planrt" "$@" 2>&1)
  got=$?
  echo "\$ planrt $* -> $got"
  echo "$said"
  case $said in *"$text"*) ;; *) echo "expected '$text' in it" && failed=1 ;; esac
  [ $got = "$code" ] || { echo "expected exit code $code" && failed=1; }
}

expect 0 planrt --version
expect 0 usage: --help
expect 0 CPU doctor
expect 2 "take the place" build --onnx="$models/small.onnx" --saveEngine="$models/small.onnx"
expect 2 "the place of the timing cache" build --onnx="$models/small.onnx" --saveEngine=new.plan --timingCacheFile=new.plan
expect 0 image doctor "$models/small.onnx"
expect 0 image doctor "$models/small.onnx" --device 0
expect 1 no_such_file doctor "$models/no_such_file.onnx"
expect 1 "TensorRT 8.5.3 for compute capability 9.0" doctor "$models/synthetic.plan"
expect 1 no_such_plugin doctor "$models/synthetic.plan" --plugin no_such_plugin.so --tensorrt /no/such/folder
expect 2 usage:
expect 2 nurse nurse
expect 2 --device doctor --device
expect 2 twelve doctor --device twelve
expect 2 --gpu doctor --gpu 1
expect 2 second doctor first second
expect 2 '\x1b[2J' "$(printf '\033[2J')"
expect 1 '\u{1b}[2J' doctor "$(printf 'no_such_\033[2J.onnx')"

# Layers and speed, on the CPU.
quick="--duration=0 --warmUp=0 --iterations=3"
expect 0 "softmax_3" inspect "$models/small.onnx"
expect 0 "us in all" inspect "$models/small.onnx" --runs=2 --shapes=image:2x1x8x8x8 --cpuThreads=1
expect 0 '"runs":2' inspect "$models/small.onnx" --runs 2 --json
expect 0 "Throughput: " bench "$models/small.onnx" $quick
expect 0 "percentile(99.9%) = " bench --onnx="$models/small.onnx" $quick --streams=2 --percentile=50,99.9 --shapes=image:2x1x8x8x8
expect 0 "items each" bench "$models/small.onnx" $quick --concurrency=3
expect 0 '"runs":6' bench "$models/small.onnx" $quick --concurrency=2 --json
expect 1 "runs on the CPU" bench "$models/small.onnx" --useCudaGraph
expect 1 "no tensor" bench "$models/small.onnx" --shapes=picture:1x1x8x8x8
expect 1 "is no input" inspect "$models/small.onnx" --runs=1 --shapes=prob:1x2x8x8x8
expect 1 "no_such" inspect no_such.onnx
expect 1 "a percentile of 101" bench "$models/small.onnx" --percentile=101
expect 2 "no MODEL" bench
expect 2 "one model" bench first second
expect 2 "--streams" inspect "$models/small.onnx" --streams=2
expect 2 "has a shape already" bench "$models/small.onnx" --shapes=image:1x1x8x8x8,image:2x1x8x8x8
expect 2 "has a shape already" inspect "$models/small.onnx" --shapes=image:1x1x8x8x8 --shapes image:1x1x8x8x8
expect 2 "given twice" bench "$models/small.onnx" --streams=2 --infStreams=1
expect 2 "given twice" inspect "$models/small.onnx" --runs 2 --runs=1
expect 2 "one model" bench "$models/small.onnx" --onnx="$models/small.onnx"
expect 2 "given twice" doctor --device 0 --device 0
for bound in min opt max; do
  expect 2 "has that shape already" build --onnx="$models/small.onnx" --saveEngine=twice.plan "--${bound}Shapes=image:1x1x8x8x8,image:2x1x8x8x8"
  expect 2 "has that shape already" build --onnx="$models/small.onnx" "--${bound}Shapes=image:1x1x8x8x8" "--${bound}Shapes=image:2x1x8x8x8"
done
expect 2 "given twice" build --onnx="$models/small.onnx" --saveEngine=twice.plan --saveEngine=again.plan
expect 2 "given twice" build --onnx="$models/small.onnx" --workspace=4 --memPoolSize=workspace:8
expect 2 "takes (+|-)" build --onnx="$models/small.onnx" --tacticSources=-CUDNN,+CUDNN
expect 2 "given twice" refit old.plan --onnx=a.onnx --onnx=b.onnx
expect 2 "one plan" refit old.plan --loadEngine=other.plan
expect 2 "given twice" segment model scan.nii --out a.nii --out b.nii
expect 2 "NAME:1x1x8x8" bench "$models/small.onnx" --shapes=image
expect 2 "takes a size, a percentage" bench "$models/small.onnx" --weightStreamingBudget=much
expect 2 "takes seconds" bench "$models/small.onnx" --duration=long

# What cannot be written is no success.
for arguments in --version --help doctor "inspect $models/small.onnx"; do
  "$planrt" $arguments > /dev/full 2> /dev/null
  got=$?
  [ $got = 3 ] || { echo "planrt $arguments > /dev/full: expected exit code 3, not $got" && failed=1; }
done
exit $failed
