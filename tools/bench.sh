#!/usr/bin/env bash
# The speed and memory of one LoRA training step (SmolLM2-135M's shape, r 8 on q_proj and v_proj, 4 x 512 tokens), vma's
# and PyTorch + PEFT's in turn, so that both meet the same machine.
#
#   tools/bench.sh [--rounds N] [--threads N]      default: 3 rounds, one thread a core
#
# The peer needs a Python with tools/reference/requirements.txt: VMA_REFERENCE_PYTHON, else build/reference (made by
# tools/reference/regenerate.sh); without one only vma's figures are printed.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=3 threads=$(nproc)
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) rounds=$2 && shift 2 ;;
    --threads) threads=$2 && shift 2 ;;
    *)
      sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
      if [ "$1" = --help ]; then exit 0; else exit 2; fi
      ;;
  esac
done
model=${VMA_MODEL:-build/models/SmolLM2-135M-Instruct.Q4_1.gguf}
bench=build/bin/bench_train_step
python=${VMA_REFERENCE_PYTHON:-build/reference/bin/python}
for file in "$bench" "$model"; do
  if ! [ -r "$file" ]; then
    echo "$file is missing: run tools/check.sh first" >&2
    exit 66
  fi
done

# Lines "NAME SECONDS MIB" of every measurement: the median step and the peak of resident memory.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for ((round = 1; round <= rounds; round++)); do
  echo "round $round of $rounds, $threads threads"
  "$bench" "$model" "train.threads=$threads" | tee "$work/round"
  sed -nE 's/^([a-z0-9]+) .* step ([0-9.]+) s.* peak +([0-9.]+) MiB.*/vma-\1 \2 \3/p' "$work/round" >>"$work/figures"
  if [ -x "$python" ]; then
    "$python" tools/reference/bench_peft.py --threads "$threads" --steps 4 \
      --cases f32-sdpa,autocast-sdpa,bf16-sdpa | tee "$work/round"
    awk '$1 ~ /-sdpa$/ { print "peft-" $1, $2, $5 }' "$work/round" >>"$work/figures"
  fi
done
[ -x "$python" ] || echo "PyTorch + PEFT was not measured: no $python"

# Of the rounds' medians the least: what the machine does when others disturb it least.
sort -k 1,1 -k 2,2n "$work/figures" | awk '
  !($1 in seconds) { order[++n] = $1; seconds[$1] = $2 }
  { if ($3 > mib[$1]) mib[$1] = $3 }
  END {
    printf "\n%-20s %10s %10s\n", "least of the rounds", "s a step", "peak MiB"
    for (i = 1; i <= n; i++) {
      name = order[i]
      printf "%-20s %10.3f %10.0f\n", name, seconds[name], mib[name]
      if (name ~ /^peft/ && (peer == "" || seconds[name] < seconds[peer])) peer = name
      if (name ~ /^vma/ && (own == "" || seconds[name] < seconds[own])) own = name
    }
    if (peer != "") printf "%s against %s: %.2f times as fast, %.2f of the memory\n", own, peer, \
      seconds[peer] / seconds[own], mib[own] / mib[peer]
  }'
