#!/usr/bin/env bash
# What BENCHMARKS.md says of a GPU, measured anew, five minutes:
#     measure.sh PROGRAMS MODELS OUT
# PROGRAMS holds gpu_overhead, gpu_throughput, gpu_devices and gpu_soak of this folder and throughput of examples/c, MODELS the
# plans that README.md tells how to build and unet32.onnx, OUT is where logs and CSV go. The libraries are found by LD_LIBRARY_PATH.
set -uo pipefail
programs=$1 models=$2 out=$3 here=$(cd "$(dirname "$0")" && pwd)
unet=$models/unet32-fp16-4profiles.plan
mkdir -p "$out"
run() {
    local log=$out/$1.txt
    shift
    timeout 90 "$@" 2>&1 | tee "$log" | grep -E '^(GOOD|BAD)|threads|right|resident|ERROR SUMMARY|ratio'
}
run unet32 "$programs/gpu_throughput" "$unet"
run deepbrain "$programs/gpu_throughput" "$models/deepbrain-fp16.plan"
run device "$programs/throughput" "$unet" --threads 1,2,4,8,16,32 --memory device --seconds 0.5 --csv "$out/device.csv"
run host "$programs/throughput" "$unet" --threads 1,2,4,8,16,32 --memory host --seconds 0.5 --csv "$out/host.csv"
run torchscript python3 "$here/torchscript.py" "$models/unet32.onnx" "$out/torchscript.csv" 0.5
run soak "$programs/gpu_soak" "$unet" 20
run memcheck compute-sanitizer --tool memcheck "$programs/gpu_soak" "$unet" 5 6
run overhead-1 "$programs/gpu_overhead" "$unet" 1 400
run overhead-8 "$programs/gpu_overhead" "$unet" 8 400
run overhead-deepbrain "$programs/gpu_overhead" "$models/deepbrain-fp16.plan" 1 100
# Last, since it breaks a device.
run devices "$programs/gpu_devices" "$unet"
