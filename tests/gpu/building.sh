#!/bin/sh
# Holds planrt's builds against those of a plain C++ program: building.sh BUILDING MODEL.onnx INPUT SHAPE fp32|fp16 ROUNDS, BUILDING
# being the program of building.cpp. Each build is a process of its own; first one of each without a timing cache and without
# CUDA's own, then ROUNDS of each with the timing cache of the first; then runs of the plans, pair by pair.
set -eu
building=$1 model=$2 input=$3 shape=$4 precision=$5 rounds=$6
rm -f ./*.cache ./*.plan

build() { # plain or planrt, cache, plan
  "$building" "$1" "$model" "$input" "$shape" "$precision" "$2" "$3"
}
median() { tr ' ' '\n' | sed '/^$/d' | sort -n | awk '{ a[NR] = $1 } END { print (a[int((NR + 1) / 2)] + a[int((NR + 2) / 2)]) / 2 }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.4f", b / a }'; }

plain_cold=$(CUDA_CACHE_DISABLE=1 build plain plain.cache plain.plan)
ours_cold=$(CUDA_CACHE_DISABLE=1 build planrt ours.cache ours.plan)
echo "cold: plain $plain_cold s, planrt $ours_cold s, ratio $(ratio "$plain_cold" "$ours_cold")"
cp plain.cache warm.cache
plain_builds= ours_builds= plain_runs= ours_runs=
for round in $(seq "$rounds"); do
  for who in plain planrt; do
    [ $((round % 2)) = 1 ] || who=$([ $who = plain ] && echo planrt || echo plain)
    cp warm.cache $who.cache
    time=$(build $who $who.cache $who.plan)
    [ $who = plain ] && plain_time=$time || ours_time=$time
  done
  runs=$("$building" runs plain.plan planrt.plan "$input" "$shape")
  echo "warm, round $round: plain $plain_time s, planrt $ours_time s, ratio $(ratio "$plain_time" "$ours_time");" \
    "a run ${runs% *} us and ${runs#* } us, ratio $(ratio "${runs% *}" "${runs#* }")"
  plain_builds="$plain_builds $plain_time" ours_builds="$ours_builds $ours_time"
  plain_runs="$plain_runs ${runs% *}" ours_runs="$ours_runs ${runs#* }"
done
plain_build=$(echo "$plain_builds" | median) ours_build=$(echo "$ours_builds" | median)
plain_run=$(echo "$plain_runs" | median) ours_run=$(echo "$ours_runs" | median)
echo "medians: builds $plain_build s and $ours_build s, ratio $(ratio "$plain_build" "$ours_build");" \
  "runs $plain_run us and $ours_run us, ratio $(ratio "$plain_run" "$ours_run")"
echo "planrt's warm build beside its cold one: $(ratio "$ours_cold" "$ours_build")"
