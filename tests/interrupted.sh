#!/bin/sh
# A program ends soon, and with 130, after Ctrl-C: interrupted.sh PROGRAM ARGUMENTS...
set -eu
"$@" &
program=$!
sleep 2
kill -INT $program
code=0
wait $program || code=$?
[ $code = 130 ] || { echo "it ended with $code"; exit 1; }
