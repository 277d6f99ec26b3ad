#!/usr/bin/env bash
# labels: quick
# vma-model from outside, on tiny models: what it prints and writes, and for each mistake the exit status and one message
# that says what is wrong.
set -uo pipefail

model_tool=$VMA_BIN/vma-model
infer=$VMA_BIN/vma-infer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/support/cli.sh

mkdir "$work/tiny" "$work/gqa" "$work/bare" "$work/new"
cp tests/golden/tiny_llama/mha/{config.json,model.safetensors} tests/support/tiny_tokenizer/* "$work/tiny"
cp tests/golden/tiny_llama/gqa/{config.json,model.safetensors} tests/support/tiny_tokenizer/* "$work/gqa"
cp tests/golden/tiny_llama/mha/{config.json,model.safetensors} "$work/bare"
tiny=$work/tiny gqa=$work/gqa
qv=tests/golden/tiny_lora/qv all=tests/golden/tiny_lora/all

# ---- info, tokenize ----

accept "$model_tool" info "$tiny"
for part in 'layers           2' 'vocabulary       131' 'tokenizer        byte-level BPE' 'EOS              2'; do
  grep -qF "$part" "$work/out" || fail "info: no '$part' in: $(cat "$work/out")"
done
accept "$model_tool" info --model "$tiny" --hash
grep -qE '^weights +sha256 [0-9a-f]{64}$' "$work/out" || fail "info --hash: $(cat "$work/out")"
accept "$model_tool" info "$work/bare"
printf '{"text": "The heart"}\n{"text": ""}\n{"text": "<|im_end|>"}\n' >"$work/texts.jsonl"
accept "$model_tool" tokenize --model "$tiny" --input "$work/texts.jsonl" --output "$work/ids"
# As the tokenizers package says for the first; the last is the special token's letters.
printf '[54,74,71,97,74,71,116,86]\n[]\n[30,94,75,79,65,110,70,94,32]\n' >"$work/expected"
cmp -s "$work/ids" "$work/expected" || fail "tokenize: $(cat "$work/ids")"
accept "$model_tool" tokenize --model tests/support/tiny_tokenizer --input "$work/texts.jsonl" --output "$work/ids2"
cmp -s "$work/ids" "$work/ids2" || fail "a folder with a tokenizer only"
"$model_tool" tokenize --model "$tiny" --input - --output - <"$work/texts.jsonl" >"$work/ids3" || fail "tokenize: the standard streams"
cmp -s "$work/ids" "$work/ids3" || fail "tokenize: other ids on the standard streams"
refuse 2 'what to do' "$model_tool"
refuse 2 'expected info, tokenize, export, merge or diff' "$model_tool" inform "$tiny"
refuse 2 'of which model' "$model_tool" info
refuse 2 'give --input' "$model_tool" tokenize --model "$tiny"
refuse 66 "$work/nowhere" "$model_tool" info "$work/nowhere"
printf '{"text": "a"}\n{"text"\n' >"$work/bad.jsonl"
refuse 65 'bad.jsonl:2:' "$model_tool" tokenize --model "$tiny" --input "$work/bad.jsonl" --output "$work/left"
printf '{"text": 1}\n' >"$work/number.jsonl"
refuse 65 'number.jsonl:1: item 0' "$model_tool" tokenize --model "$tiny" --input "$work/number.jsonl" --output "$work/left"
refuse 74 '/dev/full' "$model_tool" tokenize --model "$tiny" --input "$work/texts.jsonl" --output /dev/full
[ -e "$work/left" ] && fail "a failed run left an output"
refuse 2 "unexpected 'more'" "$model_tool" info "$tiny" more
refuse 2 "unexpected 'more'" "$model_tool" merge more
refuse 2 'meant merge' "$model_tool" merg
for command in '' info tokenize export merge diff; do
  accept "$model_tool" $command --help
  [ "$(wc -l <"$work/out")" -gt 8 ] || fail "$command --help teaches nothing"
done
accept "$model_tool" --version

# ---- export ----

accept "$model_tool" export --model "$gqa" --output "$work/new/f32" --dtype f32 --shard-size 40KB
for file in tokenizer.json tokenizer_config.json; do
  cmp -s "$gqa/$file" "$work/new/f32/$file" || fail "export: another $file"
done
for file in model.safetensors.index.json 'model-00001-of-*.safetensors' config.json generation_config.json README.md; do
  compgen -G "$work/new/f32/$file" >/dev/null || fail "export: no $file"
done
accept "$model_tool" diff "$gqa" "$work/new/f32"
grep -q '^20 tensors compared, 0 differ; 0 only in A, 0 only in B: equal$' "$work/out" || fail "diff: $(cat "$work/out")"
accept "$infer" --model "$gqa" --prompt 'The heart' --max-new-tokens 20
cp "$work/out" "$work/plain"
accept "$infer" --model "$work/new/f32" --prompt 'The heart' --max-new-tokens 20
cmp -s "$work/out" "$work/plain" || fail "an exported model says something else"
accept "$model_tool" export -m "$gqa" -o "$work/new/bf16/"
[ -e "$work/new/bf16/model.safetensors.index.json" ] && fail "export: an index of one file"
grep -q '"torch_dtype": "bfloat16"' "$work/new/bf16/config.json" || fail "export is not in bf16 by default"

accept "$model_tool" export --tokenizer-only -m tests/golden/tokenizer/gguf/spm.gguf -o "$work/new/spm"
accept "$model_tool" tokenize -m "$work/new/spm" -i "$work/texts.jsonl" -o "$work/ids"
accept "$model_tool" tokenize -m tests/golden/tokenizer/gguf/spm.gguf -i "$work/texts.jsonl" -o "$work/ids2"
cmp -s "$work/ids" "$work/ids2" || fail "export --tokenizer-only: other ids"
refuse 66 'no tokenizer' "$model_tool" export --tokenizer-only -m "$work/bare" -o "$work/left"
refuse 2 '--tokenizer-only: no weights are written' "$model_tool" export --tokenizer-only -m "$gqa" -o "$work/left" -d f32

# ---- merge ----

accept "$model_tool" merge --model "$gqa" --adapter $all --output "$work/new/all" --dtype f32
accept "$infer" --model "$gqa" --adapter $all --prompt 'The heart' --max-new-tokens 20
cp "$work/out" "$work/tuned"
cmp -s "$work/tuned" "$work/plain" && fail "the adapter changes nothing"
accept "$infer" --model "$work/new/all" --prompt 'The heart' --max-new-tokens 20
cmp -s "$work/out" "$work/tuned" || fail "a merged model says something else than base and adapter"
accept "$model_tool" merge --model "$gqa" -a $qv -a $all --output "$work/new/both" --dtype f32
accept "$model_tool" merge --model "$work/new/all" -a $qv --output "$work/new/chain" --dtype f32
accept "$model_tool" diff "$work/new/both" "$work/new/chain" --tolerance 1e-6
grep -q 'qv., .all' "$work/new/both/README.md" || fail "the card names no adapters: $(cat "$work/new/both/README.md")"

adapter_that_says "$work/other" '"vma_base_hash":"00"'
refuse 65 'was made for other weights than' "$model_tool" merge -m "$gqa" -a "$work/other" -o "$work/left"
accept "$model_tool" merge -m "$gqa" -a "$work/other" -o "$work/new/forced" --force
hash=$("$model_tool" info "$gqa" --hash | sed -n 's/^weights .*sha256 //p')
adapter_that_says "$work/own" "\"vma_base_hash\":\"$hash\",\"vma_template\":\"alpaca\""
accept "$model_tool" merge -m "$gqa" -a "$work/own" -o "$work/new/own"
grep -q 'template .alpaca.' "$work/new/own/README.md" || fail "the card names no template"

merge=("$model_tool" merge -m "$gqa" -a "$all" -o "$work/left")
refuse 2 'of which model' "$model_tool" merge -a $all -o "$work/left"
refuse 2 'which adapter' "$model_tool" merge -m "$gqa" -o "$work/left"
refuse 2 'where to' "$model_tool" merge -m "$gqa" -a $all
refuse 2 '--dtype: expected bf16 or f32' "${merge[@]}" --dtype f16
for size in x 5 5gb -1KB 0B nanGB; do
  refuse 2 '--shard-size: expected a size like 5GB' "${merge[@]}" --shard-size $size
done
refuse 2 'exists already' "$model_tool" merge -m "$gqa" -a $all -o "$work/new/all"
refuse 65 'self_attn.k_proj is for a weight of [16, 48]' "$model_tool" merge -m "$tiny" -a $all -o "$work/left"
refuse 66 "$work/nowhere" "$model_tool" merge -m "$work/nowhere" -a $all -o "$work/left"
refuse 66 "$work/nowhere" "$model_tool" merge -m "$gqa" -a "$work/nowhere" -o "$work/left"
mkdir "$work/weights"
cp "$gqa/model.safetensors" "$work/weights"
refuse 66 'config.json' "$model_tool" export -m "$work/weights" -o "$work/left"
refuse 74 '/proc/left' "$model_tool" merge -m "$gqa" -a $all -o /proc/left
(trap '' XFSZ && ulimit -f 20 && refuse 74 'cannot be written' "${merge[@]}" && exit $failed) || fail "a full disk"
for left in "$work"/left*; do [ -e "$left" ] && fail "$left is left"; done

# ---- diff ----

# differ PART COMMAND...: exit status 1, no message, and a line with PART
differ() {
  local part=$1 status=0
  shift
  "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  if [ $status != 1 ] || [ -s "$work/err" ]; then fail "$* : status $status: $(cat "$work/err")"; fi
  grep -qF -- "$part" "$work/out" || fail "$* : no '$part' in: $(cat "$work/out")"
}

differ '20 tensors compared, 14 differ, by at most' "$model_tool" diff "$gqa" "$work/new/all"
accept "$model_tool" diff "$gqa" "$work/new/all" --tolerance 100
differ '"equal": false' "$model_tool" diff "$gqa" "$work/new/all" --json
python=$(command -v python3) && { "$python" -m json.tool <"$work/out" >/dev/null || fail "diff --json is no JSON"; }
accept "$model_tool" diff "$gqa" "$work/new/f32" --json
grep -q '"equal": true' "$work/out" || fail "diff --json: $(cat "$work/out")"
differ '[48, 48] in A, [16, 48] in B' "$model_tool" diff "$tiny" "$gqa"
differ 'only in A: lm_head.weight' "$model_tool" diff "$tiny/model.safetensors" "$gqa"
differ 'only in B: base_model.model.model.layers.0.mlp.down_proj.lora_A.weight' "$model_tool" diff $qv $all
accept "$model_tool" diff $all "$work/own"
cp -r $all "$work/scaled"
sed -i 's/"lora_alpha": 8/"lora_alpha": 9/' "$work/scaled/adapter_config.json"
differ 'the scale of 14 modules differs, of model.layers.1.self_attn.v_proj: 2 in A, 2.25 in B' "$model_tool" diff $all "$work/scaled"
refuse 2 'give two paths' "$model_tool" diff "$gqa"
refuse 2 "unexpected 'more'" "$model_tool" diff "$gqa" "$tiny" more
for value in x -1 nan inf ''; do
  refuse 2 '--tolerance: expected a number' "$model_tool" diff "$gqa" "$gqa" --tolerance "$value"
done
refuse 66 "$work/nowhere" "$model_tool" diff "$gqa" "$work/nowhere"

exit $failed
