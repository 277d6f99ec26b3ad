#!/usr/bin/env bash
# labels: sim
# The table of counters that VMA_SIM_COUNTERS asks for: a row for each kernel and launch shape, of the whole run.
set -euo pipefail
program=$VMA_BUILD/tests/test_sim_calls
if [ ! -x "$program" ]; then
  echo "SKIP: no CUDA toolkit: there is no simulated device in this build"
  exit 77
fi
table=$(mktemp)
trap 'rm -f "$table"' EXIT
VMA_SIM_COUNTERS=$table "$program" >/dev/null

# expect COLUMN VALUE: of the kernel that writes 8 values, then 4.
expect() {
  local value
  value=$(sed 's/\(warp\|thread\) instrs/\1-instrs/g; s/bytes \(read\|written\)/bytes-\1/g' "$table" | awk -v want="$1" '
    NR == 1 { for (i = 1; i <= NF; i++) if ($i == want) column = i }
    /  demo_table_kernel <<<1 x 1 x 1 blocks, 64 x 1 x 1 threads, 0 bytes shared>>>$/ { print $column }')
  if [ "$value" != "$2" ]; then
    echo "$1: $value, not $2, in"
    cat "$table"
    exit 1
  fi
}
expect launches 2
expect blocks 2
expect bytes-written 48
expect sectors 2
expect conflicts 0
