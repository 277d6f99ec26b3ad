#!/usr/bin/env bash
# labels: quick
# vma-train with method full from outside, on a tiny model: the folder of the result is a model that vma-infer and a
# further run take, in f32 and bf16; going on from a checkpoint gives the same bits; frozen weights stay; each mistake's
# message before any weight is read; nothing half-written on a full disk.
set -uo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/e2e/train_lib.sh
source tests/e2e/train_lib.sh
tiny_model tiny gqa
counting_data
tiny_run
sed -i 's/^lora: .*/method: full/' "$work/run.yaml"
same_model() { # same_model A B: the same weights to the bit, the same metrics
  cmp -s "$1/model/model.safetensors" "$2/model/model.safetensors" || fail "$1, $2: other weights"
  [ "$(without_seconds "$1/metrics.jsonl")" = "$(without_seconds "$2/metrics.jsonl")" ] ||
    fail "$1, $2: other metrics: $(diff "$1/metrics.jsonl" "$2/metrics.jsonl")"
}
losses() { sed -n 's/.*"eval_loss": \([^,]*\), .*/\1/p' "$1/metrics.jsonl"; }

# ---- a whole run, its files, and going on ----

for dtype in f32 bf16; do
  whole=$work/$dtype half=$work/$dtype-half next=$work/$dtype-next
  accept run model.dtype=$dtype output.dir="$whole" output.save_steps=3
  for part in "48768 of 48768 weights trained" 'perplexity' "model: $whole/model (the weights after step 9)"; do
    grep -qF -- "$part" "$work/out" || fail "no '$part' in: $(cat "$work/out")"
  done
  [ "$(ls "$whole/model")" = "$(printf '%s\n' README.md config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json)" ] ||
    fail "files of a model: $(ls "$whole/model")"
  losses "$whole" | awk '{ last = $1; if (first == "") first = last } END { exit !(last < first / 2) }' ||
    fail "the held-out loss does not fall: $(losses "$whole")"
  grep -q '"eval_loss": 1[.].*"eval_perplexity": [3-9][.]\|"eval_loss": 1[.].*"eval_perplexity": [3-9],' "$whole/metrics.jsonl" ||
    fail "perplexity: $(grep perplexity "$whole/metrics.jsonl")"
  mkdir -p "$half/checkpoints"
  cp -r "$whole/checkpoints/step-000003" "$half/checkpoints"
  # The metrics up to there, as they were when the run stopped.
  sed '/"step": 4, "loss"/,$d' "$whole/metrics.jsonl" >"$half/metrics.jsonl"
  cp -r "$whole/best" "$half/best"
  accept run model.dtype=$dtype output.dir="$half" output.save_steps=3 resume=auto
  same_model "$whole" "$half"
  # A finished run that goes on replaces its result by the same; what a killed one left half made goes.
  mkdir "$half/.new-model.tmp-abc123" "$half/.new-best.tmp-abc123" "$half/.old-model"
  touch "$half/.new-model.tmp-abc123/model.safetensors"
  accept run model.dtype=$dtype output.dir="$half" output.save_steps=3 resume=auto
  same_model "$whole" "$half"
  [ -z "$(find "$half" -maxdepth 1 -name '.*' ! -path "$half")" ] || fail "left behind: $(ls -A "$half")"
  # Another run begins where this one ended.
  accept run model.dtype=$dtype model.path="$whole/model" output.dir="$next" train.max_steps=1
  [ "$(losses "$next" | head -1)" = "$(losses "$whole" | tail -1)" ] ||
    fail "$dtype: the folder has loss $(losses "$next" | head -1), the run ended at $(losses "$whole" | tail -1)"
done
for part in 'in bf16' 'moments and master weights in f32'; do
  grep -qF -- "$part" "$work/out" || fail "no '$part' in: $(cat "$work/out")"
done

# ---- a template of one's own: the model says so, and not where its file is ----

printf '{"prompt_no_input": "Q: {instruction}\\nA: ", "prompt_input": "Q: {instruction} {input}\\nA: "}' >"$work/own.json"
accept run data.template_file="$work/own.json" train.max_steps=1 output.dir="$work/own"
grep -q 'a template of its own' "$work/own/model/README.md" || fail "the card: $(cat "$work/own/model/README.md")"
! grep -qF "$work" "$work/own/model/README.md" || fail "a path of this machine: $(cat "$work/own/model/README.md")"
! grep -qaF "$work" "$work/own/model/model.safetensors" || fail "a path of this machine in the weights' metadata"
accept "$VMA_BIN/vma-infer" --model "$work/own/model" --template-file "$work/own/template.json" --instruction hi -n 2

# ---- the answers ----

accept run output.dir="$work/learnt" train.epochs=40 data.val_set_size=0 train.lr=3e-3
for n in 3 7; do
  accept "$VMA_BIN/vma-infer" --model "$work/learnt/model" --instruction "Count to $n" --template none --max-new-tokens 20
  [ "$(cat "$work/out")" = "$(seq -s ' ' 1 $n)" ] || fail "the model answers: $(cat "$work/out")"
done

# ---- continued pre-training on plain text: every token is a label ----

for n in 5 7 8 9 6 12; do
  printf '%s\n\n' "$(seq -s ' ' 1 $n)"
done >"$work/corpus.txt"
accept run output.dir="$work/text" data.path="$work/corpus.txt" data.format=text data.cutoff_len=16 data.val_set_size=2 train.epochs=6 train.lr=3e-3
awk '{ for (i = 1; i < NF; i++) if ($i ~ /"eval_(loss|perplexity)":/) print $i, $(i + 1) }' "$work/text/metrics.jsonl" | tr -d '",' |
  awk '/loss/ { loss = $2 } /perplexity/ { n++; d = $2 / exp(loss) - 1; if (d > 1e-6 || d < -1e-6) exit 1; if (n == 1) first = $2; last = $2 }
       END { exit !(n >= 2 && last < first / 3) }' || fail "perplexity of a text: $(cat "$work/text/metrics.jsonl")"
grep -q 'template' "$work/text/model/README.md" && fail "the model of a text names a template: $(cat "$work/text/model/README.md")"

# ---- frozen weights stay, the others move ----

accept run output.dir="$work/frozen" 'train.freeze=model.embed_tokens.*,*.layers.0.*'
"$VMA_BIN/vma-model" diff "$work/tiny" "$work/frozen/model" >"$work/diff"
grep -q '10 differ' "$work/diff" || fail "not a block, the norm and the head: $(cat "$work/diff")"
if grep -qE '^model\.(embed_tokens|layers\.0)\.' "$work/diff"; then fail "a frozen weight moved: $(cat "$work/diff")"; fi

# ---- mistakes ----

no=$work/no
refuse 2 "train.freeze: 'model.layer.0.*' matches no weight of the model; the nearest names: model.layers.0." \
  run output.dir="$no" 'train.freeze=model.layer.0.*'
refuse 2 'none is left to train' run output.dir="$no" 'train.freeze=*'
refuse 2 'train.freeze is of method: full' run output.dir="$no" method=lora 'train.freeze=*'
refuse 2 'method' run output.dir="$work/f32" method=lora resume=auto
refuse 2 'train.grad_dtype was f32' run model.dtype=bf16 output.dir="$work/bf16" output.save_steps=3 train.grad_dtype=bf16 resume=auto
cp -r tests/golden/tiny_lora/qv "$work/adapter"
refuse 2 'merge it into its base first' run output.dir="$no" lora.init_from="$work/adapter" lora.r=4 lora.alpha=8
[ ! -e "$no" ] || fail "a refused run leaves files: $(ls -R "$no")"
mv "$work/f32/checkpoints" "$work/gone"
refuse 2 'holds a finished model but no checkpoint' run output.dir="$work/f32" resume=auto

# ---- a full disk, by a limit on the size of a file ----

# shellcheck disable=SC2016,SC2317 # the inner shell's words; called by refuse
limited() { bash -c 'ulimit -f "$0"; exec "$@"' "$1" "$train" --config "$work/run.yaml" "${@:2}"; }
full=$work/full
refuse 74 "$full/checkpoints/" limited 300 output.dir="$full" output.save_steps=1 output.best=false
[ -z "$(ls -A "$full/checkpoints")" ] || fail "a full disk: $(ls -A "$full/checkpoints")"
mkdir -p "$work/late/checkpoints"
cp -r "$work/bf16/checkpoints/step-000009" "$work/late/checkpoints"
refuse 74 "$work/late/" limited 60 model.dtype=bf16 output.dir="$work/late" output.save_steps=3 output.best=false resume=auto
[ ! -e "$work/late/model" ] || fail "a full disk: half a model"
[ -z "$(find "$work/late" -maxdepth 1 -name '.*' ! -path "$work/late")" ] || fail "a full disk leaves: $(ls -A "$work/late")"

exit $failed
