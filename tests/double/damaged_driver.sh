#!/bin/sh
# Drivers that are damaged, too old or do not start: each is told in words, and models run on the CPU all the same.
#   damaged_driver.sh DAMAGED_DRIVER OLD_DRIVER PLANRT SMALL_ONNX COMPILER DRIVER_DOUBLE TENSORRT_DOUBLES
set -eu
program=$1 old_driver=$2 planrt=$3 model=$4 compiler=$5 double=$6 tensorrt=$7
failed=0
wrong() { echo "WRONG: $*"; failed=1; }

expect() { # folder of the driver, text that the error holds
  echo "== $1"
  LD_LIBRARY_PATH=$1 "$program" "$2" || wrong "the CPU road is closed with the driver in $1"
  report=$(LD_LIBRARY_PATH=$1 "$planrt" doctor "$model" 2>&1) || wrong "the doctor exits with $? on $1"
  echo "$report"
  case $report in *panicked*) wrong "a panic" ;; esac
  case $report in *"$2"*"runs here"*) ;; *) wrong "no report that holds '$2' and 'runs here'" ;; esac
}

rm -rf drivers && mkdir drivers && cd drivers
for kind in empty text folder cut_short no_driver begun dependent old; do mkdir $kind; done
: >empty/libcuda.so.1
head -c 4096 "$0" >text/libcuda.so.1
mkdir folder/libcuda.so.1
head -c 8192 "$double/libcuda.so.1" >cut_short/libcuda.so.1
echo 'int nothing;' >no_driver/driver.c
"$compiler" -shared -fPIC -o no_driver/libcuda.so.1 no_driver/driver.c
echo 'int cuInit(unsigned flags) { return (int)flags; } int cuDeviceGetCount(int *count) { return *count = 0; }' >begun/driver.c
"$compiler" -shared -fPIC -o begun/libcuda.so.1 begun/driver.c
"$compiler" -shared -fPIC -Wl,-soname,libnowhere.so -o dependent/libnowhere.so no_driver/driver.c
"$compiler" -shared -fPIC -Wl,--no-as-needed -o dependent/libcuda.so.1 begun/driver.c -Ldependent -lnowhere
rm dependent/libnowhere.so
here=$(pwd)

expect empty "empty/libcuda.so.1: file too short"
expect text "text/libcuda.so.1: invalid ELF header"
expect folder "folder/libcuda.so.1: cannot read file data"
expect cut_short "cut_short/libcuda.so.1 is cut short"
expect "$here/no_driver" "$here/no_driver/libcuda.so.1 is no CUDA driver: it lacks cuInit"
expect "$here/begun" "$here/begun/libcuda.so.1 is too old or damaged: it lacks"
expect dependent "libnowhere.so: cannot open shared object file"
for result in 3 34 100 304 802 803 804 999 12345; do
  export CUDA_DOUBLE_FAILS=cuInit=$result
  expect "$double" "the CUDA driver is installed but does not start"
done
unset CUDA_DOUBLE_FAILS

# A driver from before CUDA 11.4 runs without graphs.
for since in 4:'cuGraph*; cuStreamBeginCapture*; cuStreamEndCapture*; cuStreamGetCaptureInfo*' 6:'cuGraphNodeSetEnabled'; do
  echo "{ global: *; local: ${since#*:}; };" >old/version.map
  "$compiler" -shared -fPIC -std=c11 -D_POSIX_C_SOURCE=200809L -pthread -Wl,--version-script=old/version.map \
    -o old/libcuda.so.1 "$(dirname "$0")/cuda_double.c"
  echo "== before CUDA 11.${since%%:*}"
  LD_LIBRARY_PATH=old "$old_driver" "$tensorrt" "${since%%:*}" || wrong "a driver from before CUDA 11.${since%%:*}"
done
exit $failed
