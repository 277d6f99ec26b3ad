#!/usr/bin/env bash
# labels: quick
# vma-train --dry-run from outside: with and without files, plans that do not fit and what is proposed for them, the
# recipes, and that nothing is written.
set -uo pipefail

train=$VMA_BIN/vma-train
top=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/support/cli.sh

# ends STATUS LINES COMMAND...: exits so, with that many lines on stderr; its output is in $work/out
ends() {
  local expected=$1 lines=$2 status=0
  shift 2
  "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  if [ $status != "$expected" ]; then fail "$* : status $status, not $expected: $(cat "$work/err")"; fi
  if [ "$(wc -l <"$work/err")" != "$lines" ]; then fail "$* : stderr: $(cat "$work/err")"; fi
}

# says TEXT...: the output, or the message, has each
says() {
  for text in "$@"; do grep -qF -- "$text" "$work/out" "$work/err" || fail "no '$text' in: $(cat "$work/out" "$work/err")"; done
}

mkdir "$work/empty" "$work/tiny"
cp tests/golden/tiny_llama/gqa/{config.json,model.safetensors} tests/support/tiny_tokenizer/* "$work/tiny"
for i in 1 2 3 4 5 6 7 8 9 10; do
  echo "{\"instruction\": \"Count to $i\", \"output\": \"$(seq -s ' ' 1 "$i")\"}"
done >"$work/data.jsonl"

# ---- without files ----

cd "$work/empty" || exit 1
ends 0 0 "$train" --dry-run model.preset=llama-7b plan.device=rtx-3090
says '4194304 of 6742609920 weights trained' 'ASSUMED' 'fits' 'context' '(estimate)' 'assumed 70 % of its 71.2 TFLOP/s' \
  'what limits: matrix products' 'the whole run'
ends 0 0 "$train" --dry-run model.preset=smollm2-135m
says "this machine's CPU" 'rates measured on this CPU'
ends 2 1 "$train" --dry-run model.preset=lama-7b
says "did you mean 'llama-7b'?"
ends 2 1 "$train" --dry-run model.preset=llama-7b plan.device=rtx-9090
says 'plan.device' 'rtx-3090'
ends 2 1 "$train" --dry-run train.lr=1
says 'model.preset=llama-7b'
ends 66 1 "$train" --dry-run model.path=nowhere
ends 66 1 "$train" --dry-run model.path="$work/tiny" data.path=nowhere

# ---- --fit ----

ends 0 0 "$train" --fit 20GiB model.preset=llama-7b plan.device=rtx-3090
says 'fit into 20.00 GiB' 'of 32' '<- fastest'
words=$(tail -1 "$work/out")
step=$(grep fastest "$work/out" | grep -o '[0-9.]* s ')
mapfile -t fitting < <(grep GiB "$work/out" | grep -v 'fit' | grep -o '[0-9.]* s ')
mapfile -t fastest < <(printf '%s\n' "$step" "${fitting[@]}" | sort -n | head -1)
[ "${fastest[0]}" = "$step" ] || fail "$step is not the fastest of ${fitting[*]}"
[[ $words == train.micro_tokens=*" train.checkpointing="* ]] || fail "no words to paste: $words"
memory=$(grep fastest "$work/out" | grep -o '[0-9.]* GiB')
read -ra words <<<"$words"
ends 0 0 "$train" --dry-run model.preset=llama-7b plan.device=rtx-3090 "${words[@]}"
says "$memory of 23.0: fits"
ends 2 1 "$train" --fit 3GiB model.preset=llama-7b
says 'nothing fits into 3.00 GiB'
for size in 24 24GX GiB '' -3G nan 1k 0G; do ends 2 1 "$train" --fit="$size" model.preset=llama-7b; done
says 'as 24GiB'
ends 0 0 "$train" --fit '1.5 gb' model.path="$work/tiny" data.path="$work/data.jsonl"
says 'fit into 1.40 GiB' "this machine's CPU"
ends 0 0 "$train" --dry-run model.preset=llama-7b plan.device=rtx-3090 train.micro_tokens=8192 train.checkpointing=auto
says 'of 32 layers are recomputed, the fewest that fit' 'of 23.0: fits'
ends 2 1 "$train" --dry-run model.preset=llama-2-70b plan.device=rtx-3090 train.checkpointing=auto
says 'of 80 layers are recomputed, and that is not enough'

# ---- what does not fit, and what is proposed ----

ends 2 1 "$train" --dry-run model.preset=llama-7b plan.device=rtx-3090 train.micro_tokens=8192
says 'DOES NOT FIT' "vma-train: the run does not fit the device's memory" 'train.micro_tokens=2048' 'train.checkpointing=on'
sed -n '/^what would fit/,$p' "$work/out" | grep -o '^  [a-z].*=[^ ]* ' >"$work/proposals"
[ "$(wc -l <"$work/proposals")" = 2 ] || fail "proposals: $(cat "$work/proposals")"
while read -r -a words; do
  ends 0 0 "$train" --dry-run model.preset=llama-7b plan.device=rtx-3090 train.micro_tokens=8192 "${words[@]}"
done <"$work/proposals"
ends 2 1 "$train" --dry-run model.preset=llama-65b plan.device=rtx-3090
says 'nothing that was tried'
[ -z "$(ls -A)" ] || fail "files were made: $(ls -A)"
cd "$top" || exit 1

# ---- with files ----

ends 0 0 "$train" --dry-run model.path="$work/tiny" data.path="$work/data.jsonl" data.template=none \
  data.val_set_size=2 output.dir="$work/run" train.threads=1
says 'data: 8 examples to train on, 2 held out' 'optimizer'
if grep -q ASSUMED "$work/out"; then fail "assumes where data is there"; fi
[ ! -e "$work/run" ] || fail "output.dir was made"
says '    F32 ' 'converted to bf16 at load: 20 weights, 0.2 MiB in the file'
ends 0 0 "$train" --dry-run model.path="$work/tiny" model.dtype=f32 train.threads=1
if grep -q 'at load' "$work/out"; then fail "f32 weights become something"; fi
# The preset stands back where the model is there.
ends 0 0 "$train" --dry-run model.path="$work/tiny" model.preset=llama-7b train.threads=1
says ASSUMED
if grep -q 6742609920 "$work/out"; then fail "a preset in place of files"; fi

# ---- a run shows the same plan, and what became of it ----

plan_of() { # names and MiB; what the process takes is measured
  sed -n '/^memory/,/^  total/s/ *[0-9.]* %.*//p' "$work/out" | grep -v '^  total\|^  process'
}
small=(model.path="$work/tiny" data.path="$work/data.jsonl" data.template=none data.val_set_size=2
  output.dir="$work/run" train.threads=1 train.gemm=own train.max_steps=2)
ends 0 0 "$train" --dry-run "${small[@]}"
plan_of >"$work/planned"
ends 0 0 "$train" "${small[@]}"
plan_of >"$work/shown"
[ -s "$work/planned" ] || fail "no plan: $(cat "$work/out")"
cmp -s "$work/planned" "$work/shown" || fail "the run's plan: $(diff "$work/planned" "$work/shown")"
says '# plan against use' 's a step'
awk '$1 == "weights" || $1 == "state" { n += $2 == $3 } END { exit n != 2 }' \
  <(sed -n '/^# plan against use/,$p' "$work/out") || fail "used: $(cat "$work/out")"

# ---- the recipes: plans for other devices, and one message where they would be run ----

for recipe in lora_3090 lora_3090_best full_a100x4 full_a100x4_best; do
  ends 2 1 "$train" --config configs/$recipe.yaml
  grep -qE 'plan.device|dist.ranks' "$work/err" || fail "$recipe: $(cat "$work/err")"
  ends 0 0 "$train" --config configs/$recipe.yaml --dry-run
  says 'fits'
done
says '4 ranks: optimizer state and gradients shared (ZeRO stage 2)' 'in f32, a part for each rank (estimate)'
[ ! -e runs ] || fail "a recipe's folder was made"

exit $failed
