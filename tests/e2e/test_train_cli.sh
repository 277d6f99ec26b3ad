#!/usr/bin/env bash
# labels: quick
# vma-train from outside, on a tiny model: the files of a run, the same bits after going on from a checkpoint, and for
# each mistake the exit status, one message that says what is wrong, and nothing left half-written.
set -uo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/e2e/train_lib.sh
source tests/e2e/train_lib.sh
tiny_model tiny gqa
counting_data
tiny_run

# ---- a whole run: 10 examples in 3 epochs of 4 + 4 + 2 ----

accept run output.save_steps=1
for part in 'template: none' 'examples         13: 10 to train on, 3 held out' 'activations' 'step 9/9' 'held-out loss: '; do
  grep -qF -- "$part" "$work/out" || fail "no '$part' in: $(cat "$work/out")"
done
[ "$(ls "$work/whole")" = "$(printf '%s\n' adapter best checkpoints config.yaml manifest.json metrics.jsonl report.html samples.json)" ] || fail "files: $(ls "$work/whole")"
[ "$(find "$work/whole/checkpoints" -mindepth 1 -maxdepth 1 | wc -l)" = 9 ] || fail "checkpoints: $(ls -A "$work/whole/checkpoints")"
steps=$(sed -n 's/^{"step": \([0-9]*\), "\(eval_\|\)loss.*/\1\2/p' "$work/whole/metrics.jsonl" | tr '\n' ' ')
[ "$steps" = '0eval_ 1 2 2eval_ 3 4 4eval_ 5 6 6eval_ 7 8 8eval_ 9 9eval_ ' ] || fail "metrics: $steps"
grep -q '^{"step": 1, .*"lr": 0, ' "$work/whole/metrics.jsonl" || fail "warm-up does not begin at 0"
awk -F'"eval_loss": ' '/eval_loss/ { last = $2 + 0; if (first == "") first = last } END { exit !(last < first) }' \
  "$work/whole/metrics.jsonl" || fail "the held-out loss does not fall: $(grep eval "$work/whole/metrics.jsonl")"
before_after=$(grep '^held-out loss: .* before, .* after 9 steps$' "$work/out")
cmp -s "$work/whole/adapter/adapter_model.safetensors" "$work/whole/checkpoints/step-000009/adapter_model.safetensors" ||
  fail "the last checkpoint holds another adapter"
accept run output.dir="$work/again"
same_run "$work/whole" "$work/again"

# ---- going on: in the middle of an epoch, at its end, across the next one ----

for step in 1 3 5; do
  from=$work/from$step
  mkdir -p "$from/checkpoints"
  cp -r "$work/whole/checkpoints/step-00000$step" "$from/checkpoints"
  cp "$work/whole/metrics.jsonl" "$from" # longer than the checkpoint
  printf '{"step": 99, "lo' >>"$from/metrics.jsonl"
  mkdir "$from/checkpoints/.new-step-000004"
  accept run output.dir="$from" resume=auto train.gemm=auto # takes the checkpoint's
  grep -qF "going on from $from/checkpoints/step-00000$step" "$work/out" || fail "resume: $(cat "$work/out")"
  same_run "$work/whole" "$from"
  # The losses before the first step and after the last one, whatever this process saw of them.
  [ "$(grep '^held-out loss: ' "$work/out")" = "$before_after" ] || fail "held-out loss: $(tail -n 2 "$work/out")"
  [ ! -e "$from/checkpoints/.new-step-000004" ] || fail "what a crash left is not swept"
done
accept run output.dir="$work/branch" resume="$work/whole/checkpoints/step-000004"
[ "$(grep '^held-out loss: ' "$work/out")" = "held-out loss: ${before_after##*before, }" ] ||
  fail "held-out loss without the first: $(tail -n 2 "$work/out")"
cmp -s "$work/whole/adapter/adapter_model.safetensors" "$work/branch/adapter/adapter_model.safetensors" ||
  fail "resume=FOLDER gives another adapter"
accept run resume=auto # a finished run
[ "$(grep '^held-out loss: ' "$work/out")" = "$before_after" ] || fail "a finished run: $(tail -n 2 "$work/out")"
same_run "$work/whole" "$work/again"
accept run output.dir="$work/fresh" resume=auto # nothing to go on from
same_run "$work/whole" "$work/fresh"
accept run output.dir="$work/kept" output.keep=2 output.save_steps=2
[ "$(echo "$work"/kept/checkpoints/*)" = "$work/kept/checkpoints/step-000008 $work/kept/checkpoints/step-000009" ] ||
  fail "keep: $(ls "$work/kept/checkpoints")"

mkdir "$work/bare"
cp -r "$work/whole/adapter" "$work/whole/metrics.jsonl" "$work/bare"
refuse 2 'no checkpoint to go on from' run output.dir="$work/bare" resume=auto
cmp -s "$work/bare/metrics.jsonl" "$work/whole/metrics.jsonl" || fail "a refused run touches the metrics"

# ---- what must not change the numbers ----

accept run output.dir="$work/recomputed" train.checkpointing=on
same_run "$work/whole" "$work/recomputed"
accept run output.dir="$work/split" train.micro_tokens=1
paste <(sed -n 's/.*"loss": \([^,]*\), "grad.*/\1/p' "$work/whole/metrics.jsonl") \
  <(sed -n 's/.*"loss": \([^,]*\), "grad.*/\1/p' "$work/split/metrics.jsonl") |
  awk '{ d = $1 - $2; if (d < 0) d = -d; if (NF != 2 || d > 1e-4 * $1) bad = 1 } END { exit bad || NR != 9 }' ||
  fail "the cut into micro-batches changes the loss"


# ---- another GEMM: the checkpoint's is taken, unless the config names one ----

mkdir -p "$work/gemm/checkpoints" "$work/library2/checkpoints"
cp -r "$work/whole/checkpoints/step-000003" "$work/gemm/checkpoints"
if run output.dir="$work/library" train.gemm=onednn-f32 output.save_steps=3 >"$work/out" 2>"$work/err"; then
  cp -r "$work/library/checkpoints/step-000003" "$work/library2/checkpoints"
  accept run output.dir="$work/library2" resume=auto train.gemm=auto
  cmp -s "$work/library/adapter/adapter_model.safetensors" "$work/library2/adapter/adapter_model.safetensors" ||
    fail "going on takes another GEMM"
  run output.dir="$work/gemm" resume=auto train.gemm=onednn-f32 >"$work/out" 2>"$work/err" || fail "another GEMM: $(cat "$work/err")"
  grep -qF 'warning: the GEMM was own' "$work/err" || fail "another GEMM: $(cat "$work/err")"
else # built without oneDNN
  grep -qF 'onednn-f32' "$work/err" || fail "another GEMM: $(cat "$work/err")"
fi

# Standard output closed: nothing that is printed lands in a file that takes its number.
status=0
run output.dir="$work/closed" >&- 2>"$work/err" || status=$?
[ $status = 0 ] || fail "standard output closed: status $status: $(cat "$work/err")"
same_run "$work/whole" "$work/closed"

# ---- beyond the context of the model: 128 tokens ----

printf '{"instruction": "%s", "output": "x"}\n' "$(seq -s ' ' 80)" >"$work/long.jsonl"
long=(data.path="$work/long.jsonl" data.val_set_size=0 data.cutoff_len=512)
run output.dir="$work/long" "${long[@]}" train.micro_tokens=2048 >"$work/out" 2>"$work/err" || fail "a long example"
grep -qF "the model's context 128" "$work/err" || fail "a long example: $(cat "$work/err")"

# ---- a signal ----

endless=(train.max_steps=1000000 train.schedule=constant output.dir="$work/endless")
stop_after() { # stop_after LINES SIGNAL: runs until the metrics have so many lines, then asks it to stop
  local status=0
  "$train" --config "$work/run.yaml" "${endless[@]}" resume=auto >"$work/child_out" 2>"$work/child_err" &
  local child=$!
  until [ -f "$work/endless/metrics.jsonl" ] && [ "$(wc -l <"$work/endless/metrics.jsonl")" -ge "$1" ] || ! kill -0 $child 2>/dev/null; do sleep 0.05; done
  refuse 2 'another vma-train' run "${endless[@]}" resume=auto
  kill -"$2" $child
  wait $child || status=$?
  [ $status = 75 ] || fail "a signal: status $status: $(cat "$work/child_err")"
  grep -qF "resume=auto" "$work/child_err" || fail "a signal: $(cat "$work/child_err")"
}
stop_after 3 HUP
first=$(echo "$work"/endless/checkpoints/step-*)
stop_after $(($(wc -l <"$work/endless/metrics.jsonl") + 3)) TERM
[ "$(echo "$work"/endless/checkpoints/step-* | wc -w)" = 2 ] || fail "two stops: $(ls "$work/endless/checkpoints")"
[ -d "$first" ] || fail "the first stop's checkpoint is gone: $(ls "$work/endless/checkpoints")"
[ -z "$(sed -n 's/^{"step": \([0-9]*\), "loss.*/\1/p' "$work/endless/metrics.jsonl" | uniq -d)" ] || fail "a step stands twice"

# ---- a second signal ends at once ----

# Standard output is a full pipe, so the run waits in a write, which the first signal does not end.
mkfifo "$work/pipe"
exec 3<>"$work/pipe"
dd if=/dev/zero of="$work/pipe" bs=4096 count=100000 oflag=nonblock 2>/dev/null
"$train" --config "$work/run.yaml" train.max_steps=1000000 output.dir="$work/twice" >"$work/pipe" 2>"$work/err" 3>&- &
child=$!
wait_for() { # wait_for PATTERN: until /proc/child/status has such a line, or the child has ended
  until grep -q "$1" /proc/$child/status 2>/dev/null || ! kill -0 $child 2>/dev/null; do sleep 0.05; done
}
wait_for '^SigCgt:.*[4-7c-f]...$' # TERM is caught, bit 14
wait_for '^State:.*sleeping'
kill -TERM $child
wait_for '^SigCgt:.*[0-38-b]...$'
kill -INT $child
exec 3>&- # now nothing keeps it
status=0
wait $child || status=$?
[ $status = 130 ] || fail "a second signal: status $status: $(cat "$work/err")"
[ ! -e "$work/twice/adapter" ] || fail "a second signal: there is an adapter"

# ---- mistakes: nothing is begun ----

no=$work/no
refuse 2 '--help' "$train"
refuse 2 'give one of them' run output.dir="$no" --dry-run --sweep train.lr=1e-3,1e-4
refuse 2 'give one of them' run output.dir="$no" --show 1 --fit 2GiB
refuse 66 "$work/none.yaml" "$train" --config "$work/none.yaml"
refuse 2 'train.lrr' run output.dir="$no" train.lrr=1
refuse 2 'train.lr' run output.dir="$no" train.lr=fast
refuse 66 "$work/none.jsonl" run output.dir="$no" data.path="$work/none.jsonl"
sed '5s/"output"/"outptu"/' "$work/data.jsonl" >"$work/bad.jsonl"
refuse 65 "$work/bad.jsonl:5:" run output.dir="$no" data.path="$work/bad.jsonl"
: >"$work/empty.jsonl"
refuse 65 "$work/empty.jsonl" run output.dir="$no" data.path="$work/empty.jsonl"
refuse 66 "$work/none" run output.dir="$no" model.path="$work/none"
mkdir "$work/cut"
cp "$work/tiny"/* "$work/cut"
head -c 5000 "$work/tiny/model.safetensors" >"$work/cut/model.safetensors"
refuse 65 "$work/cut/model.safetensors" run output.dir="$no" model.path="$work/cut"
refuse 2 'nose_proj' run output.dir="$no" lora.targets=q_proj,nose_proj
refuse 66 "$work/none" run output.dir="$no" lora.init_from="$work/none"
refuse 2 'lora.r' run output.dir="$no" lora.init_from="$work/whole/adapter" lora.r=8
[ ! -e "$no" ] || fail "a refused run leaves files: $(ls -R "$no")"
# An adapter of another model.
tiny_model other mha
refuse 65 "$work/whole/adapter" run output.dir="$no" model.path="$work/other" lora.init_from="$work/whole/adapter"
[ ! -e "$no" ] || fail "a refused run leaves files: $(ls -R "$no")"
refuse 2 'holds a run already' run
touch "$work/file"
refuse 74 "$work/file" run output.dir="$work/file/x"
# No place for files is found out before the weights are read.
if grep -q 'memory' "$work/out"; then fail "output.dir is looked at after the memory is planned"; fi

# ---- an adapter to start from ----

accept run output.dir="$work/second" lora.init_from="$work/whole/adapter"
[ "$(sed -n 's/.*"eval_loss": \([^,]*\).*/\1/p' "$work/second/metrics.jsonl" | head -1)" = \
  "$(sed -n 's/.*"eval_loss": \([^,]*\).*/\1/p' "$work/whole/metrics.jsonl" | tail -1)" ] ||
  fail "a run from an adapter does not begin where it ended"

# ---- a checkpoint that does not fit, or is damaged ----

at=$work/at
mkdir "$at"
cp -r "$work/whole/checkpoints" "$work/whole/metrics.jsonl" "$at"
refuse 2 'train.lr was' run output.dir="$at" resume=auto train.lr=1e-3
sed 's/Count to 3/Count to 4/' "$work/data.jsonl" >"$work/changed.jsonl"
refuse 2 "$work/changed.jsonl" run output.dir="$at" resume=auto data.path="$work/changed.jsonl"
refuse 2 'hash' run output.dir="$at" resume=auto model.path="$work/other" lora.targets=q_proj,v_proj
refuse 66 "$work/none" run output.dir="$at" resume="$work/none"
damage() { printf 'X' | dd of="$1/trainer.safetensors" bs=1 seek=3000 conv=notrunc status=none; }
damage "$at/checkpoints/step-000009"
rm "$at/checkpoints/step-000008/state.json"
status=0
run output.dir="$at" resume=auto >"$work/out" 2>"$work/err" || status=$?
[ $status = 0 ] || fail "damaged checkpoints: status $status"
[ "$(grep -c 'step-00000[89].*the checkpoint before it is taken' "$work/err")" = 2 ] || fail "damaged checkpoints: $(cat "$work/err")"
grep -qF 'going on from '"$at/checkpoints/step-000007" "$work/out" || fail "damaged checkpoints: $(cat "$work/out")"
same_run "$work/whole" "$at"
damage "$at/checkpoints/step-000005"
refuse 65 'step-000005' run output.dir="$at" resume="$at/checkpoints/step-000005"
rm -r "$at"/checkpoints/step-00000[1-46-9]
refuse 65 'no checkpoint in' run output.dir="$at" resume=auto

# ---- a full disk, by a limit on the size of a file ----

limited() { # limited KIB ARGUMENTS...
  # shellcheck disable=SC2016,SC2317 # the inner shell's words; called by refuse
  bash -c 'ulimit -f "$0"; exec "$@"' "$1" "$train" --config "$work/run.yaml" "${@:2}"
}
full=$work/full
mkdir -p "$full/checkpoints"
cp -r "$work/whole/checkpoints/step-000003" "$full/checkpoints"
refuse 74 "$full/checkpoints/" limited 3 output.dir="$full" output.save_steps=1 output.best=false resume=auto
[ "$(ls -A "$full/checkpoints")" = step-000003 ] || fail "a full disk: $(ls -A "$full/checkpoints")"
diff -r "$full/checkpoints/step-000003" "$work/whole/checkpoints/step-000003" || fail "a full disk changes a checkpoint"
[ ! -e "$full/adapter" ] || fail "a full disk: half an adapter"
accept run output.dir="$full" resume=auto
cmp -s "$work/whole/adapter/adapter_model.safetensors" "$full/adapter/adapter_model.safetensors" ||
  fail "another adapter after a full disk"
refuse 74 'metrics.jsonl' limited 3 output.dir="$work/lines" train.epochs=20 output.best=false
[ "$(tail -c 1 "$work/lines/metrics.jsonl" | wc -l)" = 1 ] || fail "a torn line: $(tail -n 1 "$work/lines/metrics.jsonl")"

# ---- help ----

accept "$train" --help
grep -qF 'resume=auto' "$work/out" || fail "--help does not teach: $(cat "$work/out")"
accept "$train" --version
accept "$train" --print-config
grep -qF 'warmup_ratio' "$work/out" || fail "--print-config: $(cat "$work/out")"
head -c 300000 /dev/zero | tr '\0' '#' >"$work/huge.yaml"
refuse 2 'huge.yaml' "$train" --config "$work/huge.yaml"
refuse 2 'huge.yaml' "$train" --config "$work/huge.yaml" --print-config
status=0
"$train" --print-config >/dev/full 2>"$work/err" || status=$?
[ $status = 74 ] || fail "--print-config to a full standard output: status $status: $(cat "$work/err")"
accept run --print-config train.lr=0.125
grep -qE 'lr: 0?\.125' "$work/out" || fail "--print-config with a file: $(cat "$work/out")"

exit $failed
