#!/bin/sh
# planrt build with TensorRT-RTX, which builds without a GPU: build.sh PLANRT TENSORRT MODELS, TENSORRT being the folder
# that fetch_tensorrt.py makes. Works in the current folder.
set -u
planrt=$1 tensorrt=$2 models=$3 failed=0
rtx=$(echo "$tensorrt"/rtx-*) lean=$(echo "$tensorrt"/lean-10.*)
rm -f -- *.plan *.part *.cache

expect() { # exit code, text in what it prints, arguments of planrt build...
  code=$1 text=$2
  shift 2
  expect_of build "$code" "$text" "$@"
}
expect_of() { # the same of another command
  command=$1 code=$2 text=$3
  shift 3
  said=$("$planrt" "$command" "$@" 2>&1)
  got=$?
  echo "\$ planrt $command $* -> $got"
  echo "$said"
  case $said in *"$text"*) ;; *) echo "expected '$text' in it" && failed=1 ;; esac
  [ $got = "$code" ] || { echo "expected exit code $code" && failed=1; }
}

built() { # what was built is a plan, and nothing else is left
  [ "$(ls -- *.plan *.part 2>/dev/null)" = "$1" ] && [ "$(head -c 4 "$1")" = vtrt ] || { echo "expected $1 alone" && failed=1; }
  rm -f -- *.plan *.part
}
nothing() {
  [ -z "$(ls -- *.plan *.part 2>/dev/null)" ] || { echo "expected nothing to be written" && ls && failed=1; }
}

small="--onnx=$models/small.onnx --tensorrt=$rtx"
expect 0 "is written" $small --saveEngine=small.plan --minShapes=image:1x1x8x8x8 --optShapes=image:2x1x8x8x8 \
  --maxShapes=image:4x1x8x8x8 --memPoolSize=workspace:64M --timingCacheFile=times.cache
built small.plan
# The lines of a trtexec user.
expect 0 "is not needed" $small --saveEngine=static.plan --explicitBatch --workspace=4096 --best
built static.plan
expect 0 "is written" $small --saveEngine=dynamic.plan --workspace=4096 --best --minShapes=image:1x1x8x8x8 \
  --optShapes=image:4x1x8x8x8 --maxShapes=image:8x1x8x8x8
built dynamic.plan
expect 1 "convert the ONNX model" $small --saveEngine=half.plan --explicitBatch --fp16
nothing
expect 0 "is written" $small --saveEngine=float.plan --explicitBatch
built float.plan
expect 0 "is written" $small --saveEngine=own.plan --tacticSources=-CUBLAS,-CUBLAS_LT,-CUDNN,+JIT_CONVOLUTIONS
built own.plan
expect 1 "has no TacticSource::kCUDNN" $small --saveEngine=a.plan --tacticSources=+CUDNN
expect 2 "not: CUDNN" $small --saveEngine=a.plan --tacticSources=CUDNN
expect 2 "not: -CUDA" $small --saveEngine=a.plan --tacticSources=-CUDA
expect 0 "is written" --onnx "$models/unet_instance.onnx" --saveEngine unet.plan --tensorrt "$rtx"
built unet.plan

expect 0 "is written" --onnx "$models/unet_instance.onnx" --saveEngine parts.plan --tensorrt "$rtx" \
  --instanceNormalization=decomposed
built parts.plan

expect 1 "without one it builds no plan whose weights" $small --saveEngine=a.plan --refit
expect 1 "without one it builds no plan whose weights" $small --saveEngine=a.plan --stripWeights

expect 1 "no file" --onnx=no_such.onnx --saveEngine=a.plan --tensorrt="$rtx"
expect 1 "a plan already" --onnx="$models/synthetic.plan" --saveEngine=a.plan --tensorrt="$rtx"
expect 1 "dimension 0 is 3" $small --saveEngine=a.plan --minShapes=image:3x1x8x8x8 --optShapes=image:2x1x8x8x8 \
  --maxShapes=image:4x1x8x8x8
expect 1 "the profile says" $small --saveEngine=a.plan --optShapes=image:2x1x9x8x8
expect 1 'no input "picture"; it has "image"' $small --saveEngine=a.plan --optShapes=picture:2x1x8x8x8
expect 1 "has no builder; libnvinfer.so.10" --onnx="$models/small.onnx" --saveEngine=a.plan --tensorrt="$lean"
head -c 600 "$models/small.onnx" > cut.onnx
expect 1 "cut short" --onnx=cut.onnx --saveEngine=a.plan --tensorrt="$rtx"
expect 1 "No space left" $small --saveEngine=/dev/full
expect 3 "cannot be written" $small --saveEngine=no/such/folder/a.plan
expect 2 "--saveEngine" $small
expect 2 "QuantizeLinear" $small --saveEngine=a.plan --calib=table
expect 1 "there is no GPU 1 here" $small --saveEngine=a.plan --device=1
expect 2 "planrt bench" $small --saveEngine=a.plan --iterations=10
# All that trtexec knows is known here, or it is said what takes its place.
for option in --uff=m --deploy=m --model=m --output=y --uffInput=x --uffNHWC --maxBatch=8 --minShapesCalib=x:1 --inputIOFormats=fp16:chw \
  --minTiming=2 --avgTiming=4 --directIO --layerOutputTypes=a:fp16 --layerDeviceTypes=a:GPU --safe --consistency --restricted \
  --preview=+a --nvtxMode=verbose --heuristic --maxAuxStreams=2 --tempdir=/tmp --useRuntime=lean --leanDLLPath=a --fp8 --int4 \
  --setPluginsToSerialize=a --staticPlugins=a --ignoreParsedPluginLibs --weightStreamingBudget=1 --markDebug=a --stripAllWeights \
  --getPlanVersionOnly --runtimePlatform=SameAsBuild --tilingOptimizationLevel=1 --batch=4 --loadInputs=a:b --iterations=1 --warmUp=1 \
  --duration=1 --sleepTime=1 --idleTime=1 --streams=2 --infStreams=2 --exposeDMA --noDataTransfers --useManagedMemory --useSpinWait \
  --threads --useCudaGraph --timeDeserialize --timeRefit --persistentCacheRatio=1 --avgRuns=1 --percentile=99 --dumpRefit --dumpOutput \
  --dumpRawBindingsToFile --dumpProfile --dumpLayerInfo --exportTimes=a --exportOutput=a --exportProfile=a --exportLayerInfo=a \
  --useDLACore=0 --allowGPUFallback --loadEngine=a --useProfile=1 --allocationStrategy=static; do
  expect 2 "is not here" $small --saveEngine=a.plan $option
done
for option in --explicitBatch --explicitPrecision --buildOnly --skipInference --separateProfileRun --precisionConstraints=obey \
  --noBuilderCache; do
  expect 1 "a plan already" --onnx="$models/synthetic.plan" --saveEngine=a.plan --tensorrt="$rtx" $option
done
expect 2 "--nurse" $small --saveEngine=a.plan --nurse
cp "$models/small.onnx" own.onnx
expect 2 "the plan would take the place of the model" --onnx=own.onnx --saveEngine=./own.onnx --tensorrt="$rtx"
expect 3 "Is a directory" $small --saveEngine=.
nothing

# Wherever it is interrupted, the plan is there whole or not at all.
for seconds in 0.01 0.05 0.1 0.2 0.3 0.5; do
  for signal in INT TERM; do
    timeout --preserve-status -s $signal $seconds "$planrt" build --onnx="$models/unet_instance.onnx" --saveEngine=cut.plan \
      --tensorrt="$rtx" > interrupted.log 2>&1
    got=$?
    echo "interrupted by $signal after $seconds s -> $got"
    if [ $got = 0 ]; then built cut.plan; else nothing; fi
  done
done

expect_of refit 2 "which plan" --onnx="$models/small.onnx" --saveEngine=b.plan
expect_of refit 2 "--saveEngine=NEW" a.plan --onnx="$models/small.onnx"
expect_of refit 1 "no file" no_such.plan --onnx="$models/small.onnx" --saveEngine=b.plan --tensorrt="$rtx"
expect_of refit 1 "it is a plan that gets new weights" own.onnx --onnx="$models/small.onnx" --saveEngine=b.plan --tensorrt="$rtx"
expect_of refit 1 "not from a plan" "$models/synthetic.plan" --onnx="$models/synthetic.plan" --saveEngine=b.plan --tensorrt="$rtx"
expect_of bench 2 "planrt build" a.plan --fp16
expect_of bench 2 "takes a size, a percentage" a.plan --weightStreamingBudget=many
nothing
exit $failed
