#!/usr/bin/env bash
# nvcc.sh REPORT NVCC ARGUMENTS...: runs nvcc and keeps what ptxas -v says in REPORT; a failed run prints everything.
set -euo pipefail
report=$1
shift
status=0
"$@" >"$report.new" 2>&1 || status=$?
if [ $status != 0 ]; then
  cat "$report.new" >&2
  exit $status
fi
mv "$report.new" "$report"
