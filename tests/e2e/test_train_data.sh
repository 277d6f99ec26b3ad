#!/usr/bin/env bash
# labels: quick
# vma-train with data in every form, in several files, with a template of one's own, and with token ids kept from one
# run to the next; vma-infer with such a run's adapter.
set -uo pipefail

infer=$VMA_BIN/vma-infer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/e2e/train_lib.sh
source tests/e2e/train_lib.sh

tiny_model tiny gqa
cat >"$work/run.yaml" <<END
model: {path: "$work/tiny", dtype: f32}
data: {template: none, cutoff_len: 64, val_set_size: 0, cache_dir: "off"}
lora: {r: 2, dropout: 0.1}
train: {max_steps: 2, batch_size: 2, lr: 1.0e-2, threads: 1, gemm: own}
output: {report: false, samples: 0}
END

# ---- forms ----

for i in 1 2 3; do
  echo "{\"messages\": [{\"role\": \"user\", \"content\": \"q$i\"}, {\"role\": \"assistant\", \"content\": \"answer $i\"}]}"
done >"$work/messages.jsonl"
sed 's/messages/conversations/; s/"role": "user", "content"/"from": "human", "value"/
  s/"role": "assistant", "content"/"from": "gpt", "value"/' "$work/messages.jsonl" >"$work/sharegpt.jsonl"
for i in 1 2 3; do echo "{\"instruction\": \"q$i\", \"output\": \"answer $i\"}"; done >"$work/alpaca.jsonl"
seq -s ' ' 1 90 | gzip >"$work/text.txt.gz"

for form in messages sharegpt alpaca; do
  accept run data.path="$work/$form.jsonl" output.dir="$work/$form"
  grep -q '^tokens  *30, of which 21 are labels$' "$work/out" || fail "$form: $(grep -A12 '# data' "$work/out")"
done
same_run "$work/messages" "$work/sharegpt"
same_run "$work/messages" "$work/alpaca"
accept run data.path="$work/text.txt.gz" output.dir="$work/text" data.cutoff_len=32
tokens=$(sed -n 's/^tokens  *\([0-9]*\), of which \([0-9]*\) are labels.*/\1 \2/p' "$work/out")
[ -n "$tokens" ] || fail "text: $(cat "$work/out")"
read -r all labels <<<"$tokens"
examples=$(((all + 31) / 32))
[ "$((all - labels))" = "$examples" ] || fail "text: all but the first of each example are labels, not $tokens"

# ---- several files ----

counting_data
two=(data.path="$work/messages.jsonl,$work/data.jsonl" "data.weights=2,0.5" output.save_steps=1)
accept run "${two[@]}" output.dir="$work/two" train.max_steps=4
grep -qF "$work/data.jsonl" "$work/out" || fail "two files: $(grep -A14 '# data' "$work/out")"
accept run "${two[@]}" output.dir="$work/went_on" train.max_steps=4 resume="$work/two/checkpoints/step-000003"
cmp -s "$work/two/adapter/adapter_model.safetensors" "$work/went_on/adapter/adapter_model.safetensors" ||
  fail "two files: other weights when gone on from a checkpoint"
accept run "${two[@]}" output.dir="$work/unweighted" train.max_steps=4 data.weights=
if cmp -s "$work/two/adapter/adapter_model.safetensors" "$work/unweighted/adapter/adapter_model.safetensors"; then
  fail "weights change nothing"
fi

# A batch that is not finite is named by the files that its items come from: here both hold one item.
tiny_model spoilt mha
printf '\000\000\300\177' | dd of="$work/spoilt/model.safetensors" bs=1 seek=$((8 + 2344 + 25152 + 12 * 192)) conv=notrunc status=none
echo '{"instruction": "a", "output": "*"}' >"$work/star.jsonl"
echo '{"instruction": "b", "output": "c"}' >"$work/plain.jsonl"
refuse 1 "items 0 of $work/star.jsonl; items 0 of $work/plain.jsonl" run model.path="$work/spoilt" \
  data.path="$work/star.jsonl,$work/plain.jsonl" output.dir="$work/stops"

# ---- a template of one's own ----

printf '%s' '{"prompt_no_input": "Q: {instruction}\nA: ", "prompt_input": "Q: {instruction} ({input})\nA: "}' >"$work/qa.json"
own=(data.path="$work/data.jsonl" data.template_file="$work/qa.json" output.save_steps=1)
accept run "${own[@]}" output.dir="$work/own"
cmp -s "$work/qa.json" "$work/own/template.json" || fail "the run's folder has another template"
answer() { # OPTION...: what a prompt's tokens and the answer's are
  accept "$infer" --model "$work/tiny" --max-new-tokens 6 --threads 1 --json "$@"
  grep -oE '"ids":\[[^]]*\]|"prompt_tokens":[0-9]+' "$work/out"
}
raw=$(answer --adapter "$work/own/adapter" --prompt $'Q: Count to 3\nA: ')
[ "$(answer --adapter "$work/own/adapter" --instruction 'Count to 3')" = "$raw" ] || fail "vma-infer: not the adapter's own template"
[ "$(answer --adapter "$work/own/adapter" --instruction Count --input 3)" = \
  "$(answer --adapter "$work/own/adapter" --prompt $'Q: Count (3)\nA: ')" ] || fail "vma-infer: not the own template with an input"
# Each line of a batch by the template of its adapter.
printf '%s\n' '{"instruction": "Count to 3", "adapter": "own"}' '{"instruction": "Count to 3", "adapter": "plain"}' >"$work/asked.jsonl"
accept "$infer" --model "$work/tiny" --max-new-tokens 6 --threads 1 --adapter own="$work/own/adapter" \
  --adapter plain="$work/messages/adapter" --batch "$work/asked.jsonl" --output "$work/answers"
{
  echo "$raw"
  answer --adapter "$work/messages/adapter" --instruction 'Count to 3'
} | grep ids >"$work/expected"
grep -oE '"ids":\[[^]]*\]' "$work/answers" | diff - "$work/expected" || fail "--batch: not each adapter's own template"

# Another text under the same name is noticed: by a run that goes on, and by one that repeats another.
sed -i 's/Q: /Question: /g' "$work/qa.json"
refuse 2 "data.template_file: $work/qa.json is not the template that" run "${own[@]}" output.dir="$work/own" resume=auto
refuse 2 "data.template: none is not the template that" run data.path="$work/data.jsonl" output.dir="$work/own" resume=auto
"$train" --config "$work/own/config.yaml" output.dir="$work/changed" >"$work/out" 2>"$work/err" || fail "changed template: $(cat "$work/err")"
grep -q "warning: data.template_sha256: the content of $work/qa.json is not what it was" "$work/err" || fail "changed template: $(cat "$work/err")"
accept "$train" --config "$work/own/config.yaml" output.dir="$work/again" data.template_file="$work/own/template.json"
same_run "$work/own" "$work/again"
# So are other weights of lora.init_from: the template that they were trained with.
run "${own[@]}" output.dir="$work/on_it" lora.init_from="$work/own/adapter" >"$work/out" 2>"$work/err" || fail "init_from: $(cat "$work/err")"
grep -q 'was trained with data.template=a file of its own, this run has' "$work/err" || fail "init_from: $(cat "$work/err")"

# ---- token ids kept from one run to the next ----

cached=(data.path="$work/messages.jsonl" data.cache_dir="$work/cache")
accept run "${cached[@]}" --dry-run
gone "$work/cache" || fail "--dry-run writes token ids"
accept run "${cached[@]}" --show 1
gone "$work/cache" || fail "--show writes token ids"
accept run "${cached[@]}" output.dir="$work/first"
if grep -q 'kept from an earlier run' "$work/out"; then fail "ids from nowhere"; fi
accept run "${cached[@]}" output.dir="$work/second"
grep -q 'kept from an earlier run' "$work/out" || fail "the second run encodes again"
same_run "$work/first" "$work/second"
same_run "$work/first" "$work/messages"

exit $failed
