#!/usr/bin/env bash
# labels: quick
# vma-train --sweep from outside: combinations in their folders, the table, runs that fail, a signal and going on, and
# what is refused before the first run.
set -uo pipefail

train=$VMA_BIN/vma-train
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/support/cli.sh

# ends STATUS COMMAND...: exits so; its output is in $work/out and $work/err
ends() {
  local expected=$1 status=0
  shift
  "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  if [ $status != "$expected" ]; then fail "$* : status $status, not $expected: $(cat "$work/out" "$work/err")"; fi
}

says() {
  for text in "$@"; do grep -qF -- "$text" "$work/out" "$work/err" || fail "no '$text' in: $(cat "$work/out" "$work/err")"; done
}

mkdir "$work/tiny"
cp tests/golden/tiny_llama/gqa/{config.json,model.safetensors} tests/support/tiny_tokenizer/* "$work/tiny"
for i in 1 2 3 4 5 6 7 8 9 10; do
  echo "{\"instruction\": \"Count to $i\", \"output\": \"$(seq -s ' ' 1 "$i")\"}"
done >"$work/data.jsonl"
common=(train.lr=1e-3 model.path="$work/tiny" data.path="$work/data.jsonl" data.val_set_size=2 train.batch_size=4 train.max_steps=4
  train.threads=1 train.gemm=own output.samples=0 output.report=false data.cache_dir=off)

# ---- what is refused, before anything is made ----

for words in '=1' 'train.lr' 'train.lr=1e-3,1e-3' 'train.lr=1e-3,x' 'train.lrr=1,2' 'output.dir=a,b' 'lora.targets=[q_proj' \
  'train.lr=1e-3,'; do
  ends 2 "$train" --sweep "$words" "${common[@]}" output.dir="$work/refused"
  [ "$(wc -l <"$work/err")" = 1 ] || fail "$words: $(cat "$work/err")"
done
ends 2 "$train" --sweep train.lr=1e-3,1e-4 --sweep train.lr=2 "${common[@]}" output.dir="$work/refused"
ends 2 "$train" --sweep train.seed=1,2,3,4,5,6,7,8,9,10 --sweep lora.r=1,2,3,4,5,6,7,8,9,10,11 \
  --sweep train.epochs=1,2,3,4,5,6,7,8,9,10 "${common[@]}" output.dir="$work/refused"
says 'more than 1000'
[ ! -e "$work/refused" ] || fail "a refused sweep made a folder"

# ---- all combinations, one that fails ----

cd "$work" || exit 1

sweep=("$train" --sweep 'data.path=data.jsonl,missing.jsonl' --sweep 'lora.targets=[q_proj,v_proj],all-linear' "${common[@]}"
  output.dir="$work/sweep")
ends 1 "${sweep[@]}"
says '[4/4]' 'failed: vma-train: missing.jsonl' '(best)' 'runs failed'
for name in 'path=data.jsonl_targets=q_proj,v_proj' 'path=data.jsonl_targets=all-linear'; do
  [ -e "$work/sweep/$name/adapter/adapter_model.safetensors" ] || fail "$name has no adapter"
  grep -q '"state": "finished"' "$work/sweep/$name/manifest.json" || fail "$name: $(cat "$work/sweep/$name/manifest.json")"
  grep -q "held-out loss" "$work/sweep/$name/log.txt" || fail "$name has no log"
  grep -qF "| $name" "$work/sweep/sweep.md" || fail "$name is not in the table: $(cat "$work/sweep/sweep.md")"
done
[ "$(wc -l <"$work/sweep/sweep.jsonl")" = 4 ] || fail "$(cat "$work/sweep/sweep.jsonl")"
[ "$(grep -c '| finished |$' "$work/sweep/sweep.md")" = 2 ] || fail "$(cat "$work/sweep/sweep.md")"
[ "$(grep -c '| failed |$' "$work/sweep/sweep.md")" = 2 ] || fail "$(cat "$work/sweep/sweep.md")"
# The table's numbers are those of the run.
line=$(head -1 "$work/sweep/sweep.jsonl")
last=$(grep -o '"held_out_last":[0-9.]*' <<<"$line" | cut -d: -f2)
grep -q "^held-out loss: .* $(printf '%.4f' "$last") after 4 steps" "$work/sweep/path=data.jsonl_targets=q_proj,v_proj/log.txt" ||
  fail "held-out loss $last: $(tail -3 "$work/sweep/path=data.jsonl_targets=q_proj,v_proj/log.txt")"
grep -q '"data.path":"data.jsonl","lora.targets":"q_proj,v_proj"' <<<"$line" || fail "$line"
grep -q '"peak_bytes":[1-9]' <<<"$line" || fail "$line"

# ---- the same command again: what finished is not run again; other settings are refused ----

before=$(stat -c %Y.%s "$work/sweep/path=data.jsonl_targets=all-linear/metrics.jsonl")
# By one who ignores the ends of children, too.
ends 1 env --ignore-signal=CHLD "${sweep[@]}"
says 'runs failed'
says 'path=data.jsonl_targets=all-linear: finished before'
[ "$before" = "$(stat -c %Y.%s "$work/sweep/path=data.jsonl_targets=all-linear/metrics.jsonl")" ] || fail "a finished run was run again"
ends 2 "${sweep[@]}" train.max_steps=5
says 'train.max_steps=4' 'it is 5 now'

# ---- a signal: the run at hand saves, the same command goes on to the same bits ----

long=("$train" --sweep "train.seed=1,2" "${common[@]}" train.max_steps=80 train.lr=1e-3)
ends 0 "${long[@]}" output.dir="$work/whole"
"${long[@]}" output.dir="$work/parts" >"$work/out" 2>"$work/err" </dev/null &
pid=$!
for _ in $(seq 600); do
  [ "$(grep -c step "$work/parts/seed=1/metrics.jsonl" 2>/dev/null || true)" -gt 4 ] 2>/dev/null && break
  sleep 0.05
done
kill -TERM $pid
status=0
wait $pid || status=$?
[ $status = 75 ] || fail "stopped with $status: $(cat "$work/out" "$work/err")"
says 'the same command goes on'
[ ! -e "$work/parts/seed=2" ] || fail "the next run was started after a signal"
[ -n "$(find "$work/parts/seed=1/checkpoints" -name '*.safetensors')" ] || fail "the run at hand did not save"
ends 0 "${long[@]}" output.dir="$work/parts"
for seed in 1 2; do
  cmp "$work/whole/seed=$seed/adapter/adapter_model.safetensors" "$work/parts/seed=$seed/adapter/adapter_model.safetensors" ||
    fail "seed $seed: other bits"
done

exit $failed
