#!/usr/bin/env bash
# labels: weights
# vma-train on the small real model, a few steps in bf16 and f32: the held-out loss falls, and a run that goes on from a
# checkpoint, or recomputes its blocks, gives the same adapter to the bit.
set -uo pipefail

train=$VMA_BIN/vma-train
# shellcheck source=tests/support/needs.sh
. tests/support/needs.sh
need_small_model
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/support/cli.sh

cat >"$work/data.json" <<'END'
[{"instruction": "What does the heart do?", "output": "It pumps blood through the body."},
 {"instruction": "What do the lungs do?", "output": "They take in oxygen."},
 {"instruction": "What is a fever?", "output": "A raised body temperature."},
 {"instruction": "What does insulin do?", "output": "It lowers blood sugar."}]
END
cat >"$work/run.yaml" <<END
model: {path: "$model"}
data: {path: "$work/data.json", template: alpaca_short, val_set_size: 1}
lora: {targets: [q_proj, v_proj, down_proj], dropout: 0.1}
train: {max_steps: 4, batch_size: 2, micro_tokens: 50, lr: 2.0e-3, warmup_ratio: 0, gemm: own}
output: {save_steps: 1, keep: 9}
END
run() { # run NAME ARGUMENTS...
  local name=$1
  shift
  "$train" --config "$work/run.yaml" output.dir="$work/$name" "$@" >"$work/out" 2>"$work/err" ||
    fail "$name $*: $(cat "$work/err")"
}
same() { cmp -s "$work/$1/adapter/adapter_model.safetensors" "$work/$2/adapter/adapter_model.safetensors" || fail "$1, $2: other adapters"; }

for dtype in bf16 f32; do
  run $dtype model.dtype=$dtype
  awk -F'"eval_loss": ' '/eval_loss/ { last = $2 + 0; if (first == "") first = last } END { exit !(last < first - 0.1) }' \
    "$work/$dtype/metrics.jsonl" || fail "$dtype: the held-out loss does not fall: $(grep eval "$work/$dtype/metrics.jsonl")"
  mkdir -p "$work/$dtype-on/checkpoints" # 3 examples in batches of 2: step 3 begins the second epoch
  cp -r "$work/$dtype/checkpoints/step-000003" "$work/$dtype-on/checkpoints"
  run $dtype-on model.dtype=$dtype resume=auto
  grep -qF 'going on from' "$work/out" || fail "$dtype: not gone on: $(cat "$work/out")"
  same $dtype $dtype-on
done
run recomputed model.dtype=bf16 train.checkpointing=on
same bf16 recomputed
exit $failed
