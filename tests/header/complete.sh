#!/bin/sh
# Each function and constant of planrt.h is in planrt.hpp: complete.sh EXPORTS INCLUDE
set -eu
exports=$1 include=$2
missing=0
for name in $(cat "$exports") $(sed -n 's/^#define \(PLANRT_[A-Z0-9_]*\) .*/\1/p' "$include/planrt.h"); do
  case $name in PLANRT_WARN_UNUSED) continue ;; esac
  grep -qw "$name" "$include/planrt.hpp" || { echo "planrt.hpp does not have $name"; missing=1; }
done
exit $missing
