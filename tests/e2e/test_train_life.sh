#!/usr/bin/env bash
# labels: quick
# A run that people can live with, on a tiny model and by real processes: signals and file switches, steps that are not
# finite, the best weights and the early stop, a folder to go on from.
set -uo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/e2e/train_lib.sh
source tests/e2e/train_lib.sh
tiny_model tiny gqa
counting_data
tiny_run
step_lines() { sed -n 's/^{"step": \([0-9]*\), "loss.*/\1/p' "$1/metrics.jsonl"; }
eval_lines() { sed -n 's/^{"step": \([0-9]*\), "eval_loss": \([^,]*\),.*/\1 \2/p' "$1/metrics.jsonl"; }

# ---- signals and switches: each stops an endless run after a step, and the next goes on from there ----

long=$work/long
endless=(train.max_steps=1000000 train.schedule=constant train.eval_steps=0 output.dir="$long" resume=auto)
lines=0
for ask in HUP INT TERM USR1 STOP; do
  # INT is ignored by what a shell starts in the background: env gives it back its default.
  env --default-signal=INT "$train" --config "$work/run.yaml" "${endless[@]}" >"$work/child_out" 2>"$work/child_err" &
  child=$!
  wait_until $child has_lines "$long/metrics.jsonl" $((lines + 3))
  if [ $ask = STOP ]; then
    touch "$long/SAVE"
    wait_until $child gone "$long/SAVE"
    gone "$long/SAVE" || fail "SAVE is not seen"
    wait_until $child has_lines "$long/metrics.jsonl" $(($(wc -l <"$long/metrics.jsonl") + 3))
    touch "$long/STOP"
  else
    kill -$ask $child
  fi
  status=0
  wait $child || status=$?
  [ $status = 75 ] || fail "$ask: status $status: $(cat "$work/child_err")"
  by='a signal'
  if [ $ask = STOP ]; then by='the file STOP'; fi
  grep -q "^vma-train: stopped by $by after step [0-9]* of 1000000; saved in .*resume=auto" "$work/child_err" ||
    fail "$ask: $(cat "$work/child_err")"
  [ "$(wc -l <"$work/child_err")" = 1 ] || fail "$ask: more than one message: $(cat "$work/child_err")"
  lines=$(wc -l <"$long/metrics.jsonl")
  last=$(step_lines "$long" | tail -n 1)
  [ -d "$(printf '%s/checkpoints/step-%06d' "$long" "$last")" ] || fail "$ask: no checkpoint of step $last"
done
gone "$long/STOP" || fail "STOP stays"
[ "$(find "$long/checkpoints" -mindepth 1 -maxdepth 1 | wc -l)" -ge 6 ] || fail "SAVE: $(ls "$long/checkpoints")"
step_lines "$long" >"$work/steps"
seq "$(wc -l <"$work/steps")" | cmp -s - "$work/steps" || fail "steps are missing or stand twice"

# ---- a step that is not finite ----

# The embedding of '*' is no number: only the item that spells it is spoilt.
tiny_model spoilt mha
printf '\000\000\300\177' | dd of="$work/spoilt/model.safetensors" bs=1 seek=$((8 + 2344 + 25152 + 12 * 192)) conv=notrunc status=none
sed '10s/to 10/*/' "$work/data.jsonl" >"$work/star.jsonl"
spoilt=(model.path="$work/spoilt" data.path="$work/star.jsonl" data.shuffle=false)
refuse 1 'items ' run "${spoilt[@]}" output.dir="$work/stops"
grep -qE 'step [1-3]: the loss is -?nan .*not finite.*items .*9.* of .*star.jsonl.*on_nonfinite=skip' "$work/err" || fail "stop: $(cat "$work/err")"
[ ! -e "$work/stops/adapter" ] || fail "a run that is not finite leaves an adapter"

skip=$work/skip
run "${spoilt[@]}" train.on_nonfinite=skip output.dir="$skip" output.save_steps=1 >"$work/out" 2>"$work/err" || fail "skip: $(cat "$work/err")"
[ "$(grep -c '^vma-train: warning: skipped step [0-9]*: the loss is -*nan' "$work/err")" = 3 ] || fail "skip: $(cat "$work/err")"
grep -qF 'skipped: 3 steps' "$work/out" || fail "skip: $(tail -n 3 "$work/out")"
grep -c '"loss": null, "grad_norm": null, .*"skipped": true, "items": {"'"$work"'/star.jsonl": \[.*\b9\b.*\]}, "seconds"' "$skip/metrics.jsonl" |
  grep -qx 3 || fail "skip: $(grep skipped "$skip/metrics.jsonl")"
[ "$(step_lines "$skip" | tr '\n' ' ')" = '1 2 3 4 5 6 7 8 9 ' ] || fail "skip: $(step_lines "$skip")"
if grep -q null <(grep eval "$skip/metrics.jsonl"); then fail "skip: the weights are spoilt: $(eval_lines "$skip")"; fi
# Weights and moments of the checkpoints before and after the step are the same to the bit.
sed -n 's/^{"step": \([0-9]*\), .*"skipped": true.*/\1/p' "$skip/metrics.jsonl" >"$work/skipped"
while read -r step; do
  [ "$step" = 1 ] || cmp -s "$skip/checkpoints/step-00000$((step - 1))/trainer.safetensors" "$skip/checkpoints/step-00000$step/trainer.safetensors" ||
    fail "step $step reached the weights or moments"
  # Going on right after it gives the same bits.
  mkdir -p "$work/skip$step/checkpoints"
  cp -r "$skip/checkpoints/step-00000$step" "$work/skip$step/checkpoints"
  cp "$skip/metrics.jsonl" "$work/skip$step"
  cp -r "$skip/best" "$work/skip$step"
  run "${spoilt[@]}" train.on_nonfinite=skip output.dir="$work/skip$step" resume=auto >"$work/out" 2>"$work/err" || fail "skip: $(cat "$work/err")"
  same_run "$skip" "$work/skip$step"
  grep -qF 'skipped: 3 steps' "$work/out" || fail "going on after a skip: $(tail -n 3 "$work/out")"
done <"$work/skipped"
# A run that stopped has saved what it had, and goes on past it when told so.
[ "$(ls "$work/stops/checkpoints")" = step-000001 ] || fail "stop: $(ls "$work/stops/checkpoints")"
run "${spoilt[@]}" output.dir="$work/stops" resume=auto train.on_nonfinite=skip >"$work/out" 2>"$work/err" || fail "past a stop: $(cat "$work/err")"
same_run "$skip" "$work/stops"
# Nothing but such steps: the run ends.
status=0
run "${spoilt[@]}" train.on_nonfinite=skip train.batch_size=10 train.epochs=20 output.dir="$work/all" >"$work/out" 2>"$work/err" || status=$?
[ $status = 1 ] || fail "all steps skipped: status $status"
grep -qE '^vma-train: step 10: .*the last of 10 in a row' "$work/err" || fail "all steps skipped: $(tail -n 1 "$work/err")"

# ---- the best weights, and the early stop ----

refuse 2 'train.early_stop' run output.dir="$work/no" train.early_stop=2 data.val_set_size=0
refuse 2 'train.early_stop' run output.dir="$work/no" train.early_stop=2 train.eval_steps=0
# So high a rate that it gets worse after a while.
early=(train.lr=0.3 train.epochs=40 train.schedule=constant train.eval_steps=1 train.early_stop=4)
stop=$work/early
accept run "${early[@]}" output.dir="$stop" output.save_steps=1
best=$(eval_lines "$stop" | awk '$1 > 0 && (n == 0 || $2 < least) { least = $2; n = $1 } END { print n }')
last=$(step_lines "$stop" | tail -n 1)
[ "$best $last" = "$((last - 4)) $last" ] || fail "early stop: best $best, last $last: $(eval_lines "$stop")"
grep -qF "early stop: 4 evaluations in a row were not better than step $best; $last of 120 steps done" "$work/out" || fail "early stop: $(tail -n 4 "$work/out")"
grep -qF "best: $stop/best (step $best," "$work/out" || fail "early stop: $(tail -n 4 "$work/out")"
checkpoint() { printf '%s/checkpoints/step-%06d' "$1" "$2"; }
cmp -s "$stop/best/adapter_model.safetensors" "$(checkpoint "$stop" "$best")/adapter_model.safetensors" || fail "best holds other weights than step $best"
cmp -s "$stop/adapter/adapter_model.safetensors" "$(checkpoint "$stop" "$last")/adapter_model.safetensors" || fail "adapter is not the last step's"
[ "$(ls -A "$stop")" = "$(printf '%s\n' adapter best checkpoints config.yaml manifest.json metrics.jsonl report.html samples.json)" ] || fail "files: $(ls -A "$stop")"
# Going on, in the same folder or in another, ends at the same step with the same best weights.
for step in $((best - 1)) $best $((best + 1)) $last; do
  mkdir -p "$work/early$step/checkpoints"
  cp -r "$(checkpoint "$stop" "$step")" "$work/early$step/checkpoints"
  cp "$stop/metrics.jsonl" "$work/early$step"
  cp -r "$stop/best" "$work/early$step"
  accept run "${early[@]}" output.dir="$work/early$step" resume=auto
  same_run "$stop" "$work/early$step"
  diff -r "$stop/best" "$work/early$step/best" || fail "another best after going on from step $step"
  accept run "${early[@]}" output.dir="$work/moved$step" resume="$(checkpoint "$stop" "$step")"
  [ "$(step_lines "$work/moved$step" | tail -n 1)" = "$(step_lines "$stop" | sed "1,${step}d" | tail -n 1)" ] || fail "another last step after moving from step $step"
  diff -r "$stop/best" "$work/moved$step/best" || fail "another best after moving from step $step"
done
cp -r "$(checkpoint "$stop" $((best + 1)))" "$work/alone"
run "${early[@]}" output.dir="$work/lonely" resume="$work/alone" >"$work/out" 2>"$work/err" || fail "no best beside: $(cat "$work/err")"
grep -q "the best held-out loss, .* of step $best, came before the checkpoint" "$work/err" || fail "no best beside: $(cat "$work/err")"
[ ! -e "$work/lonely/best" ] || fail "no best beside: there is one"
accept run output.dir="$work/none" output.best=false
[ ! -e "$work/none/best" ] || fail "output.best=false keeps them"

# ---- the manifest ----

manifest() { # manifest DIR KEY: the first value of the key
  sed -n "s/^ *\"$2\": \"\{0,1\}\([^\",]*\).*/\1/p" "$1/manifest.json" | head -n 1
}
[ "$(manifest "$stop" state) $(manifest "$stop" early_stop) $(manifest "$stop" steps_done)" = "finished true $last" ] || fail "manifest: $(cat "$stop/manifest.json")"
[ "$(manifest "$long" state)" = stopped ] || fail "manifest: $(cat "$long/manifest.json")"
[ "$(manifest "$work/all" state) $(manifest "$work/all" skipped)" = 'failed 10' ] || fail "manifest: $(cat "$work/all/manifest.json")"
grep -qF 'the last of 10 in a row' "$work/all/manifest.json" || fail "manifest: no message"
first=$(sed -n 's/^{"step": 1, "loss": \([^,]*\),.*/\1/p' "$stop/metrics.jsonl")
awk -v a="$first" -v b="$(sed -n '/"loss": {/,/}/s/.*"first": \([^,]*\),/\1/p' "$stop/manifest.json")" 'BEGIN { exit !(a > 0 && a - b < 1e-6 && b - a < 1e-6) }' ||
  fail "manifest: the first loss is not $first"
(cd "$stop" && sed -n '/^  "files": {/,$s/^ *"\([^"]*\)": "\([0-9a-f]\{64\}\)".*/\2  \1/p' manifest.json >"$work/sums" && sha256sum --quiet -c "$work/sums") ||
  fail "manifest: the hashes are not those of the files"
for file in adapter/adapter_model.safetensors best/best.json config.yaml metrics.jsonl report.html samples.json; do
  grep -q "  $file$" "$work/sums" || fail "manifest: no $file"
done
[ "$(manifest "$stop" sha256)" = "$(sha256sum <"$work/data.jsonl" | cut -d ' ' -f 1)" ] || fail "manifest: the data's hash"
[ "$(manifest "$stop" tokenizer.json)" = "$(sha256sum <"$work/tiny/tokenizer.json" | cut -d ' ' -f 1)" ] || fail "manifest: the tokenizer's hash"
# A process that is killed leaves "running".
"$train" --config "$work/run.yaml" train.max_steps=1000000 output.dir="$work/killed" >/dev/null 2>&1 &
child=$!
wait_until $child has_lines "$work/killed/metrics.jsonl" 3
kill -KILL $child
wait $child 2>/dev/null
[ "$(manifest "$work/killed" state)" = running ] || fail "manifest: $(cat "$work/killed/manifest.json")"

# ---- a run repeated by its config ----

# What was left open (threads, GEMM, instruction set) is settled in config.yaml.
accept run train.gemm=auto train.threads=0 model.dtype=bf16 output.dir="$work/first" output.save_steps=4
if grep -qE '(gemm|isa): auto|threads: 0$|hash: ""' "$work/first/config.yaml"; then fail "left open: $(cat "$work/first/config.yaml")"; fi
accept "$train" --config "$work/first/config.yaml" output.dir="$work/second"
same_run "$work/first" "$work/second"
# Also of one that went on from a checkpoint, and with another GEMM and instruction set.
accept "$train" --config "$work/first/config.yaml" output.dir="$work/went_on" resume="$work/first/checkpoints/step-000004"
accept "$train" --config "$work/went_on/config.yaml" output.dir="$work/third"
same_run "$work/first" "$work/third"
accept run train.isa=base output.dir="$work/base"
grep -q 'isa: base' "$work/base/config.yaml" || fail "isa: $(cat "$work/base/config.yaml")"
accept "$train" --config "$work/base/config.yaml" output.dir="$work/base_again"
same_run "$work/base" "$work/base_again"
# Of all weights too, whose best are a model's folder.
accept run method=full model.dtype=bf16 output.dir="$work/full" output.save_steps=9
grep -qF "best: $work/full/best (step 9," "$work/out" || fail "full: the last step is not the best: $(tail -n 12 "$work/out")"
cmp -s "$work/full/best/model.safetensors" "$work/full/model/model.safetensors" || fail "full: best and last differ"
grep -q '"model/model.safetensors": "[0-9a-f]\{64\}"' "$work/full/manifest.json" || fail "full: not in the manifest"
accept "$train" --config "$work/full/config.yaml" output.dir="$work/full_again"
cmp -s "$work/full/model/model.safetensors" "$work/full_again/model/model.safetensors" || fail "full: other weights when repeated"
# Other content under the same name is said.
sed 's/Count to 3/Count to 4/' "$work/data.jsonl" >"$work/changed.jsonl"
"$train" --config "$work/first/config.yaml" output.dir="$work/changed" data.path="$work/changed.jsonl" >"$work/out" 2>"$work/err" || fail "changed data: $(cat "$work/err")"
grep -q 'warning: data.sha256: the content of .*changed.jsonl is not what it was' "$work/err" || fail "changed data: $(cat "$work/err")"
tiny_model changed_model gqa
printf '\001' | dd of="$work/changed_model/model.safetensors" bs=1 seek=9000 conv=notrunc status=none
"$train" --config "$work/first/config.yaml" output.dir="$work/changed2" model.path="$work/changed_model" >"$work/out" 2>"$work/err" || fail "changed model: $(cat "$work/err")"
grep -q 'warning: model.hash: the content of .*changed_model is not what it was' "$work/err" || fail "changed model: $(cat "$work/err")"
[ "$(wc -l <"$work/err")" = 1 ] || fail "changed model: $(cat "$work/err")"

# ---- a run's folder to go on from ----

accept "$train" --config "$work/first/config.yaml" output.dir="$work/folder" resume="$work/first"
grep -qF "going on from $work/first/checkpoints/step-000009" "$work/out" || fail "resume=FOLDER: $(cat "$work/out")"
mkdir -p "$work/hollow/checkpoints"
refuse 66 'there is no checkpoint in it' run output.dir="$work/no" resume="$work/hollow"
gone "$work/no" || fail "a refused run leaves files"

exit $failed
