#!/usr/bin/env bash
# labels: weights
# The process's peak memory (VmHWM) against the plan's total, on the small real model: LoRA in f32 and bf16, with
# checkpointing and without, through the library GEMM, and all weights. Every batch is as large as the plan thinks. The
# peak may lie at most 3 % above the plan, and not far below it, or the plan says nothing.
set -uo pipefail

train=$VMA_BIN/vma-train
# shellcheck source=tests/support/needs.sh
. tests/support/needs.sh
need_small_model
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

words=$(printf 'a long answer that is cut %.0s' {1..40})
for i in 1 2 3 4 5 6; do
  echo "{\"instruction\": \"Say it $i times\", \"output\": \"$words\"}"
done >"$work/data.jsonl"

# number NAME FILE: the first number of that name in a manifest
number() { grep -o "\"$1\": *[0-9]*" "$2" | head -1 | grep -o '[0-9]*$'; }

# peak NAME WORDS...: one step, and the peak against the plan
peak() {
  local name=$1
  shift
  if ! "$train" model.path="$model" data.path="$work/data.jsonl" data.template=chatml data.train_on_inputs=true \
    data.cutoff_len=64 data.val_set_size=2 data.cache_dir=off train.batch_size=4 train.max_steps=1 train.micro_tokens=256 \
    output.samples=0 output.dir="$work/$name" "$@" >"$work/$name.log" 2>&1; then
    echo "FAILED: $name: $(tail -3 "$work/$name.log")"
    failed=1
    return
  fi
  local manifest=$work/$name/manifest.json planned used
  planned=$(number total "$manifest")
  used=$(number process_peak "$manifest")
  awk -v p="$planned" -v u="$used" -v n="$name" 'BEGIN {
    printf "%-24s planned %8.1f MiB, peak %8.1f MiB, %+.2f %%\n", n, p / 1048576, u / 1048576, 100 * (u / p - 1)
    exit !(u <= 1.03 * p && u >= 0.93 * p)
  }' || { echo "FAILED: $name: $(sed -n '/^memory/,/total/p' "$work/$name.log")"; failed=1; }
  rm -rf "${work:?}/$name"
}

all='lora.targets=all-linear'
peak lora_f32 model.dtype=f32 $all
peak lora_f32_recomputed model.dtype=f32 $all train.checkpointing=on
peak lora_bf16 model.dtype=bf16 $all
peak lora_bf16_recomputed model.dtype=bf16 $all train.checkpointing=on
peak lora_bf16_library model.dtype=bf16 train.gemm=onednn-f32
peak full_bf16 model.dtype=bf16 method=full train.lr=1e-5 train.checkpointing=on
exit $failed
