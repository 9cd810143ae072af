#!/usr/bin/env bash
# What has to hold of every file: a clone alone builds and passes, and nothing that tests import sends anything anywhere.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
wrong() { echo "$1" >&2 && failed=1; }

found=$(git grep -nE '\.\./shared/|/(root|home|work)/' -- . ':!.ci/repository.sh' ':!THIRD-PARTY-NOTICES.txt' || true)
[ -z "$found" ] || wrong "paths outside the repository: $found"
for file in $(git grep -lE '^ *(import|from) onnxruntime' -- '*.py'); do
  grep -q ORT_DISABLE_TELEMETRY "$file" || wrong "$file imports onnxruntime and does not set ORT_DISABLE_TELEMETRY=1 before"
done
exit $failed
