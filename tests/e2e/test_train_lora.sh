#!/usr/bin/env bash
# labels: quick
# vma-train with the forms of LoRA, from outside on a tiny model: all linear layers, rank-stabilised, ranks and alphas by
# module, LoRA+. What the adapter's config says, that vma-infer and lora.init_from take it, that going on from a
# checkpoint gives the same bits, and each mistake's message before any weight is read.
set -uo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
source tests/e2e/train_lib.sh

tiny_model tiny gqa
counting_data
cat >"$work/run.yaml" <<END
model: {path: "$work/tiny", dtype: f32}
data: {path: "$work/data.jsonl", template: none, cutoff_len: 64, val_set_size: 2}
lora: {r: 4, alpha: 8, dropout: 0.1, targets: all-linear, rank_stabilised: true, plus_ratio: 4,
       rank_pattern: ["down_proj=6", "layers.1.*=3"], alpha_pattern: ["?_proj=5.5"]}
train: {max_steps: 4, batch_size: 4, micro_tokens: 60, lr: 1.0e-2, warmup_steps: 0, warmup_ratio: 0, threads: 1, gemm: own}
output: {dir: "$work/whole", save_steps: 2}
END

accept run
config=$work/whole/adapter/adapter_config.json
for line in '"lora_alpha": 8,' '"r": 4,' '"down_proj": 6,' '"layers\\.1\\..*": 3' '"._proj": 5.5' '"use_rslora": true,' \
  '"q_proj",' '"k_proj",' '"v_proj"' '"o_proj",' '"gate_proj",' '"up_proj",' '"down_proj",'; do
  grep -qF -- "$line" "$config" || fail "no $line in $(cat "$config")"
done
accept "$VMA_BIN/vma-infer" --model "$work/tiny" --adapter "$work/whole/adapter" --prompt "Count to 3" --template none --max-new-tokens 2

# ---- going on from a checkpoint: the same bits ----

mkdir -p "$work/half/checkpoints"
cp -r "$work/whole/checkpoints/step-000002" "$work/half/checkpoints"
accept run output.dir="$work/half" resume=auto
cmp -s "$work/whole/adapter/adapter_model.safetensors" "$work/half/adapter/adapter_model.safetensors" ||
  fail "going on gives another adapter"

# ---- each form is felt ----

for change in lora.plus_ratio=1 lora.rank_stabilised=false lora.alpha_pattern=; do
  rm -rf "$work/other"
  accept run output.dir="$work/other" "$change"
  if cmp -s "$work/whole/adapter/adapter_model.safetensors" "$work/other/adapter/adapter_model.safetensors"; then
    fail "$change changes nothing"
  fi
done

# ---- batches of like length ----

grep -qE '^padding +none; batches of 4 padded to their longest would be [0-9.]+ % padding, grouped by length [0-9.]+ %$' \
  "$work/out" || fail "nothing about padding: $(grep padding "$work/out")"
rm -rf "$work/other"
accept run output.dir="$work/other" data.group_by_length=true
if cmp -s "$work/whole/adapter/adapter_model.safetensors" "$work/other/adapter/adapter_model.safetensors"; then
  fail "data.group_by_length changes nothing"
fi
mkdir -p "$work/grouped/checkpoints"
cp -r "$work/other/checkpoints/step-000002" "$work/grouped/checkpoints"
accept run output.dir="$work/grouped" data.group_by_length=true resume=auto
cmp -s "$work/other/adapter/adapter_model.safetensors" "$work/grouped/adapter/adapter_model.safetensors" ||
  fail "going on gives another adapter, grouped by length"

# ---- an adapter to start from ----

accept run output.dir="$work/second" lora.init_from="$work/whole/adapter"
no=$work/no
refuse 2 'model.layers.1.mlp.gate_proj has rank 3' run output.dir="$no" lora.init_from="$work/whole/adapter" \
  lora.rank_pattern=down_proj=6
refuse 2 'model.layers.0.self_attn.k_proj has rank 4 and scale 2.75, by the config rank 4 and scale 4' run output.dir="$no" \
  lora.init_from="$work/whole/adapter" lora.alpha_pattern= lora.targets=k_proj,down_proj
tiny_model mha mha
refuse 65 'lora.init_from: '"$work/whole/adapter"': adapter tensor' run output.dir="$no" model.path="$work/mha" \
  lora.init_from="$work/whole/adapter"
if grep -q 'memory' "$work/out"; then fail "an adapter of another model is found after the memory is planned"; fi

# ---- mistakes ----

refuse 2 "lora.rank_pattern: 'dwn_proj=6' matches no layer" run output.dir="$no" 'lora.rank_pattern=dwn_proj=6'
refuse 2 "lora.alpha_pattern: 'q_proj=6' matches no layer" run output.dir="$no" lora.alpha_pattern=q_proj=6 \
  lora.targets=v_proj lora.rank_pattern=
for word in q_proj q_proj= q_proj=0 q_proj=2.5 q_proj=1025 q_proj=x q_proj=2=3 '*==2'; do
  refuse 2 "lora.rank_pattern: expected MODULE=RANK, a rank from 1 to 1024, found '$word'" run output.dir="$no" \
    "lora.rank_pattern=$word"
done
refuse 2 "lora.alpha_pattern: expected MODULE=ALPHA" run output.dir="$no" lora.alpha_pattern=q_proj=0
[ ! -e "$no" ] || fail "a refused run leaves files: $(ls -R "$no")"
# ---- settings that come to nothing are named, and change nothing ----

idle=(train.grad_dtype=bf16 train.checkpoint_blocks=1 dist.shard=weights)
run output.dir="$work/idle" train.max_steps=1 "${idle[@]}" >/dev/null 2>"$work/err" || fail "idle settings: $(cat "$work/err")"
[ "$(grep -c 'warning: .* comes to nothing without' "$work/err")" = 3 ] || fail "idle settings: $(cat "$work/err")"
run output.dir="$work/busy" train.max_steps=1 train.checkpointing=on train.checkpoint_blocks=1 >/dev/null 2>"$work/err"
[ ! -s "$work/err" ] || fail "a setting that works is called idle: $(cat "$work/err")"
same_run "$work/idle" "$work/busy"

exit $failed
