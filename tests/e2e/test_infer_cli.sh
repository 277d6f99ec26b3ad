#!/usr/bin/env bash
# labels: quick
# vma-infer from outside, on a tiny model: what it prints, and for each mistake the exit status and one
# message that says what is wrong.
set -uo pipefail

infer=$VMA_BIN/vma-infer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/support/cli.sh

# Its greedy text does not repeat itself; the adapters are of the second.
mkdir "$work/tiny" "$work/gqa" "$work/bare"
cp tests/golden/tiny_llama/mha/{config.json,model.safetensors} tests/support/tiny_tokenizer/* "$work/tiny"
cp tests/golden/tiny_llama/gqa/{config.json,model.safetensors} tests/support/tiny_tokenizer/* "$work/gqa"
cp tests/golden/tiny_llama/mha/{config.json,model.safetensors} "$work/bare"
tiny=$work/tiny

printf '{"text": "The heart"}\n{"prompt": "The ", "completion": "heart"}\n{"ids": [5, 6, 7]}\n' >"$work/in.jsonl"

# ---- answers ----

accept "$infer" --model "$tiny" --prompt 'The heart' --max-new-tokens 20 --threads 1
cp "$work/out" "$work/plain"
accept "$infer" --model "$tiny" --prompt 'The heart' --max-new-tokens 20 --threads 2
cmp -s "$work/out" "$work/plain" || fail "another text with two threads"
printf 'The heart' >"$work/prompt"
"$infer" --model "$tiny" --prompt - --max-new-tokens 20 <"$work/prompt" >"$work/out" || fail "a prompt from standard input"
cmp -s "$work/out" "$work/plain" || fail "another text from standard input"
accept "$infer" --model "$tiny" --prompt 'The heart' --template none --max-new-tokens 20
cmp -s "$work/out" "$work/plain" || fail "--template none changes a prompt"
accept "$infer" --model "$tiny" --prompt 'The heart' --max-new-tokens 20 --top-k 1 --temperature 2
cmp -s "$work/out" "$work/plain" || fail "--top-k 1 is not greedy"

accept "$infer" --model "$tiny" --prompt 'The heart' --max-new-tokens 5 --json
[ "$(wc -l <"$work/out")" = 1 ] || fail "--json is not one line"
for part in '"text":"' '"ids":[' '"finish":"length"' '"prompt_tokens":' '"load_seconds":' '"prefill_seconds":' \
  '"decode_seconds":' '"decode_tokens_per_second":'; do
  grep -qF "$part" "$work/out" || fail "no $part in $(cat "$work/out")"
done
[ "$(sed 's/.*"ids":\[\([^]]*\)\].*/\1/' "$work/out" | tr ',' '\n' | wc -l)" = 5 ] || fail "not 5 ids: $(cat "$work/out")"
accept "$infer" --model "$tiny" --prompt 'The heart' --max-new-tokens 1000 --json
grep -qE '"finish":"(context|eos)"' "$work/out" || fail "the context does not end it: $(cat "$work/out")"
accept "$infer" --model "$tiny" --prompt 'The heart' --max-new-tokens 20 --dtype bf16

# The tokenizer has <|im_start|>: an instruction goes into chatml, whose frame is longer in ids than alpaca's here.
prompt_tokens() {
  accept "$infer" --model "$tiny" --max-new-tokens 1 --json "$@"
  sed 's/.*"prompt_tokens":\([0-9]*\).*/\1/' "$work/out"
}
by_default=$(prompt_tokens --instruction 'hi')
[ "$by_default" = "$(prompt_tokens --instruction 'hi' --template chatml)" ] || fail "an instruction is not put into chatml"
[ "$by_default" = "$(prompt_tokens --prompt 'hi' --template chatml)" ] || fail "--prompt with --template is no instruction"
[ "$by_default" != "$(prompt_tokens --instruction 'hi' --template none)" ] || fail "none is chatml"
[ "$(prompt_tokens --prompt 'hi')" = 2 ] || fail "a prompt is not taken as it is"

# Without the chat's marks in the vocabulary there is no chat; alpaca serves instead.
mkdir "$work/unmarked"
cp tests/golden/tiny_llama/gqa/{config.json,model.safetensors} "$work/unmarked"
for file in tokenizer.json tokenizer_config.json; do
  sed 's/<|im_start|>/<|im_begin|>/g' "tests/support/tiny_tokenizer/$file" >"$work/unmarked/$file"
done
unmarked=("$infer" --model "$work/unmarked" --max-new-tokens 1)
part='--template chatml: expected a model whose vocabulary has <|im_start|>, which this one lacks'
refuse 2 "$part" "${unmarked[@]}" --instruction x --template chatml
refuse 2 "$part" "${unmarked[@]}" --prompt x --template chatml
accept "${unmarked[@]}" --instruction x
adapter_that_says "$work/chatlora" '"vma_template":"chatml"'
accept "$infer" --model "$work/gqa" --adapter "$work/chatlora" --instruction x --max-new-tokens 1
refuse 2 'chatlora was trained with chatml: expected a model whose vocabulary has' "${unmarked[@]}" --instruction x \
  --adapter "$work/chatlora"
accept "${unmarked[@]}" --prompt x --adapter "$work/chatlora"

# A template of one's own: from a file, and from an adapter that was trained with it.
frame='### Instruction:\n{instruction}\n\n### Response:\n'
printf '{"prompt_no_input": "%s", "prompt_input": "%s{input}"}' "$frame" "$frame" >"$work/own.json"
own=$(prompt_tokens --instruction 'hi' --template-file "$work/own.json")
[ "$own" = "$(prompt_tokens --instruction 'hi' --template alpaca_short)" ] || fail "the same template gives another prompt"
[ "$own" != "$by_default" ] || fail "--template-file changes nothing"
adapter_that_says "$work/ownlora" "\"vma_template\":$(printf '%s' "$(sed 's/[\\"]/\\&/g' "$work/own.json")" | sed 's/^/"/; s/$/"/')"
gqa_ask=("$infer" --model "$work/gqa" --instruction hi --json -n 4)
accept "${gqa_ask[@]}" --adapter "$work/ownlora"
mv "$work/out" "$work/own_out"
accept "${gqa_ask[@]}" --adapter "$work/ownlora" --template-file "$work/own.json"
answer() { grep -o '"ids":.*\]' "$1"; }
[ "$(answer "$work/out")" = "$(answer "$work/own_out")" ] || fail "an adapter's own template is not that of its file"
refuse 2 'a template of its own' "${gqa_ask[@]}" --adapter "$work/ownlora" --template alpaca
sed 's/Response/Answer/g' "$work/own.json" >"$work/other.json"
refuse 2 "--template-file $work/other.json contradicts" "${gqa_ask[@]}" --adapter "$work/ownlora" --template-file "$work/other.json"
refuse 2 'give one of the two' "${gqa_ask[@]}" --template alpaca --template-file "$work/own.json"
refuse 66 'nowhere' "${gqa_ask[@]}" --template-file "$work/nowhere"

# A NUL is a byte of a prompt like any other, but a template's text ends there.
printf 'The\0heart' >"$work/nul"
"$infer" --model "$tiny" --prompt - --max-new-tokens 1 <"$work/nul" >"$work/out" || fail "a NUL in a prompt"
refuse_stdin=$work/nul refuse 65 'found a NUL byte at byte 3' "$infer" --model "$tiny" --prompt - --template alpaca

# Stops: the first letters of the answer.
first=$(head -c 3 "$work/plain")
accept "$infer" --model "$tiny" --prompt 'The heart' --max-new-tokens 20 --stop 'never there' --stop "$first"
[ "$(cat "$work/out")" = '' ] || fail "a stop text was printed: $(cat "$work/out")"

# An adapter changes the answer; one that does not say its template leaves the choice.
accept "$infer" --model "$work/gqa" --prompt 'The heart' --max-new-tokens 20
cp "$work/out" "$work/untuned"
accept "$infer" --model "$work/gqa" --adapter tests/golden/tiny_lora/all --prompt 'The heart' --max-new-tokens 20
if cmp -s "$work/out" "$work/untuned"; then fail "the adapter changes nothing"; fi

accept "$infer" --model "$work/gqa" --adapter tests/golden/tiny_lora/all --prompt 'The heart' --dtype bf16
accept "$infer" --help
grep -q -- '--repetition-penalty' "$work/out" || fail "--help does not name the options"
accept "$infer" --version

# ---- the command line ----

ask=("$infer" --model "$tiny" --prompt x)
refuse 2 '--model is missing' "$infer" --prompt x
refuse 2 '--model is empty' "$infer" --model '' --prompt x
refuse 2 '--adapter is empty' "${ask[@]}" --adapter ''
refuse 2 '--score is empty' "$infer" --model "$tiny" --score '' --output "$work/x"
refuse 2 '--output is empty' "$infer" --model "$tiny" --score "$work/in.jsonl" --output ''
refuse 2 'nothing to do' "$infer" --model "$tiny"
refuse 2 'give one of them' "${ask[@]}" --instruction y
refuse 2 '--input goes with' "${ask[@]}" --input y
refuse 2 'empty' "$infer" --model "$tiny" --prompt ''
refuse 2 '--instruction: expected a text' "$infer" --model "$tiny" --instruction ''
refuse 2 "unexpected 'stray'" "${ask[@]}" stray
refuse 2 "meant 'alpaca'" "${ask[@]}" --template alpacca
refuse 2 '--dtype: expected f32 or bf16' "${ask[@]}" --dtype f16
refuse 2 '--stop: expected a text' "${ask[@]}" --stop ''
refuse 2 '--stop: expected UTF-8' "${ask[@]}" --stop $'\xff'
for value in 0 -1 1.5 x '' ' 1' 99999999999999999999 2147483648; do
  refuse 2 '--max-new-tokens: expected an integer in 1..2147483647' "${ask[@]}" --max-new-tokens "$value"
done
for value in -1 x nan inf 1e9 ''; do refuse 2 '--temperature: expected' "${ask[@]}" --temperature "$value"; done
for value in -1 x 1.5 99999999999; do refuse 2 '--top-k: expected' "${ask[@]}" --top-k "$value"; done
for value in -0.1 0 1.01 x nan; do refuse 2 '--top-p: expected' "${ask[@]}" --top-p "$value"; done
for value in -1 0 x inf 1e-60; do
  refuse 2 '--repetition-penalty: expected' "${ask[@]}" --repetition-penalty "$value"
done
for value in -1 x 1.5 9223372036854775808; do refuse 2 '--seed: expected' "${ask[@]}" --seed "$value"; done
for value in 0 -1 x 100000; do refuse 2 '--threads: expected' "${ask[@]}" --threads "$value"; done
refuse 2 '--add-special goes with --score' "${ask[@]}" --add-special
for option in --batch-tokens=2048 --output=x; do
  refuse 2 "${option%%=*} goes with --batch or --score" "${ask[@]}" $option
done
refuse 2 '--batch-size goes with --batch' "${ask[@]}" --batch-size 3
refuse 2 'where to' "$infer" --model "$tiny" --score "$work/prompt"
# What says how to answer is refused where there is no answer, also with its default value.
score=("$infer" --model "$tiny" --score "$work/in.jsonl" --output "$work/x")
for option in --prompt=x --instruction=x --batch=x; do
  refuse 2 "${option%%=*} and --score: give one of them" "${score[@]}" $option
done
for option in --input=x --template=none --max-new-tokens=256 --temperature=0 --top-k=0 \
  --top-p=1 --repetition-penalty=1 --seed=0 --stop=x --json; do
  refuse 2 "${option%%=*} does not go with --score" "${score[@]}" $option
done
refuse 2 '--temperature does not go with --score' "${score[@]}" --temperature=0.5 --batch-tokens=8
[ -e "$work/x" ] && fail "refused options, and an output"
refuse 2 'leaves no room' "$infer" --model "$tiny" --prompt "$(printf 'x %.0s' {1..70})"
refuse 2 "unknown option '--no-such-option'" "${ask[@]}" --no-such-option
refuse 2 'meant --max-new-tokens' "${ask[@]}" --max-new-token5 3
refuse 2 '--model: expected PATH' "$infer" --prompt x --model
refuse 2 '--model: expected PATH' "$infer" --prompt x -m
refuse 2 '--json takes no value' "${ask[@]}" --json=yes
for value in 0 65 x; do refuse 2 '--beams: expected' "${ask[@]}" --beams "$value"; done
for value in 11 x nan; do refuse 2 '--length-penalty: expected' "${ask[@]}" --beams 2 --length-penalty "$value"; done
refuse 2 '--early-stopping: expected false, true or never' "${ask[@]}" --beams 2 --early-stopping yes
refuse 2 '--length-penalty goes with --beams' "${ask[@]}" --length-penalty 2
refuse 2 'beams draw nothing' "${ask[@]}" --beams 2 --temperature 0.5
refuse 2 '--preset: expected alpaca-lora' "${ask[@]}" --preset alpaca
refuse 2 'beams draw nothing (there are 4)' "${ask[@]}" --preset alpaca-lora --temperature 0.1

# ---- files ----

refuse 66 "$work/nowhere" "$infer" --model "$work/nowhere" --prompt x
refuse 66 'okenizer' "$infer" --model "$work/bare" --prompt x
: >"$work/empty.gguf"
refuse 65 "$work/empty.gguf" "$infer" --model "$work/empty.gguf" --prompt x
head -c 4096 /dev/urandom >"$work/random.gguf"
refuse 65 "$work/random.gguf" "$infer" --model "$work/random.gguf" --prompt x
mkdir "$work/cut" "$work/noise" "$work/nothing"
cp "$tiny"/* "$work/cut" && head -c 1000 "$tiny/model.safetensors" >"$work/cut/model.safetensors"
refuse 65 "$work/cut" "$infer" --model "$work/cut" --prompt x
cp "$tiny"/* "$work/noise" && head -c 5000 /dev/urandom >"$work/noise/tokenizer.json"
refuse 65 'tokenizer.json' "$infer" --model "$work/noise" --prompt x
refuse 66 "$work/nothing" "$infer" --model "$work/nothing" --prompt x

refuse 66 "$work/nowhere" "$infer" --model "$work/gqa" --prompt x --adapter "$work/nowhere"
mkdir "$work/odd"
cp tests/golden/tiny_llama/odd80/{config.json,model.safetensors} tests/support/tiny_tokenizer/* "$work/odd"
refuse 65 'tests/golden/tiny_lora/all does not fit' "$infer" --model "$work/odd" --prompt x --adapter tests/golden/tiny_lora/all
# One that says it was made for other weights: a warning where it serves, and where it does not only the error.
adapter_that_says "$work/otherlora" "\"vma_base_hash\":\"$(printf %064d 0)\""
"$infer" --model "$work/gqa" --adapter "$work/otherlora" --prompt x --max-new-tokens 1 >"$work/out" 2>"$work/err" ||
  fail "an adapter for other weights: $(cat "$work/err")"
[ "$(grep -cF 'warning: ' "$work/err")$(wc -l <"$work/err")" = 11 ] || fail "not one warning: $(cat "$work/err")"
refuse 65 'otherlora does not fit' "$infer" --model "$work/odd" --prompt x --adapter "$work/otherlora"
refuse 65 'otherlora does not fit' "$infer" --model "$work/odd" --adapter "$work/otherlora" --score "$work/in.jsonl" \
  --output "$work/left"

mkdir "$work/badlora" "$work/outputs"
refuse 65 '' "$infer" --model "$work/odd" --adapter tests/golden/tiny_lora/all --score "$work/in.jsonl" \
  --output "$work/outputs/left"
[ -z "$(ls -A "$work/outputs")" ] || fail "a failed run left $(ls -A "$work/outputs")"
cp tests/golden/tiny_lora/all/adapter_* "$work/badlora" && head -c 600 /dev/urandom >"$work/badlora/adapter_model.safetensors"
refuse 65 "$work/badlora" "$infer" --model "$work/gqa" --prompt x --adapter "$work/badlora"

status=0
"${ask[@]}" >/dev/full 2>"$work/err" || status=$?
[ $status = 74 ] || fail "a full standard output: status $status: $(cat "$work/err")"
status=0
"${ask[@]}" --json >/dev/full 2>"$work/err" || status=$?
[ $status = 74 ] || fail "a full standard output, --json: status $status: $(cat "$work/err")"

# ---- scoring ----

accept "$infer" --model "$tiny" --score "$work/in.jsonl" --output "$work/scores"
[ "$(wc -l <"$work/scores")" = 3 ] || fail "not three lines: $(cat "$work/scores")"
grep -qE '^\{"ids":\[5,6,7\],"logprobs":\[null,-[0-9.]+,-[0-9.]+\],"completion_start":0,"greedy":(true|false)\}$' \
  "$work/scores" || fail "another form: $(cat "$work/scores")"
accept "$infer" --model "$tiny" --score "$work/in.jsonl" --output -
cmp -s "$work/out" "$work/scores" || fail "another result on standard output"
tail -n 1 "$work/in.jsonl" >"$work/ids.jsonl"
accept "$infer" --model "$work/bare" --score "$work/ids.jsonl" --output "$work/bare_scores"
accept "$infer" --model "$tiny" --score "$work/ids.jsonl" --output "$work/tiny_scores"
cmp -s "$work/tiny_scores" "$work/bare_scores" || fail "ids without a tokenizer score otherwise"
refuse 66 'okenizer' "$infer" --model "$work/bare" --score "$work/in.jsonl" --output "$work/left"
refuse 66 "$work/nowhere" "$infer" --model "$tiny" --score "$work/nowhere" --output "$work/left"
printf '{"text": "a"}\n{"text"\n' >"$work/bad.jsonl"
refuse 65 'bad.jsonl:2:' "$infer" --model "$tiny" --score "$work/bad.jsonl" --output "$work/left"
refuse 74 '/dev/full' "$infer" --model "$tiny" --score "$work/in.jsonl" --output /dev/full
"$infer" --model "$tiny" --score "$work/in.jsonl" --output "$work/no/such/folder" >"$work/out" 2>"$work/err" &&
  fail "an output in a folder that is not there"
[ -e "$work/left" ] && fail "a failed run left an output"

exit $failed
