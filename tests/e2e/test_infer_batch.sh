#!/usr/bin/env bash
# labels: quick
# vma-infer --batch: every line is answered as it is answered alone, whatever the batch, with adapters and beams; what is
# wrong in a line is one message with its place, and then there is no output.
set -uo pipefail

infer=$VMA_BIN/vma-infer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/support/cli.sh

mkdir "$work/gqa"
cp tests/golden/tiny_llama/gqa/{config.json,model.safetensors} tests/support/tiny_tokenizer/* "$work/gqa"
model=(--model "$work/gqa" --threads 1 --adapter "all=tests/golden/tiny_lora/all" --adapter "qv=tests/golden/tiny_lora/qv")

# Prompts of many lengths: more than a step reads at once, less than a page and more, every adapter and none.
adapters=(all qv none)
for i in $(seq 0 9); do
  adapter=${adapters[$((i % 3))]}
  text=$(printf 'The heart %.0s' $(seq $((1 + i * 5 % 9))))$i
  key=prompt
  if [ $((i % 4)) = 1 ]; then
    key=instruction
    text=hi$i
  fi
  {
    printf '{"%s": "%s"' "$key" "$text"
    if [ "$adapter" != none ]; then printf ', "adapter": "%s"' "$adapter"; fi
    if [ $((i % 2)) = 0 ]; then printf ', "id": "q%d"' "$i"; fi
    printf '}\n'
  } >>"$work/in.jsonl"
done

# answers OUT OPTION...: runs the batch
answers() {
  local out=$1 status=0
  shift
  "$infer" "${model[@]}" --batch "${input:-$work/in.jsonl}" --output "$out" "$@" >"$work/stdout" 2>"$work/err" </dev/null ||
    status=$?
  if [ $status != 0 ] || [ -s "$work/err" ] || [ -s "$work/stdout" ]; then fail "--batch $*: $status $(cat "$work/err")"; fi
}

# one_by_one OUT OPTION...: the same, each line by a run of its own
one_by_one() {
  local out=$1 line=0 adapter text key id
  shift
  : >"$out"
  while IFS= read -r item; do
    line=$((line + 1))
    key=$(sed -E 's/^\{"([a-z]+)".*/\1/' <<<"$item")
    text=$(sed -E 's/^\{"[a-z]+": "([^"]*)".*/\1/' <<<"$item")
    id=$(sed -nE 's/.*"id": ("[^"]*").*/\1/p' <<<"$item")
    adapter=$(sed -nE 's/.*"adapter": "([a-z]+)".*/\1/p' <<<"$item")
    "$infer" --model "$work/gqa" --threads 1 ${adapter:+--adapter "tests/golden/tiny_lora/$adapter"} "--$key" "$text" --json \
      "$@" 2>"$work/err" | sed -E "s/^\{/{\"id\":${id:-$line},/; s/,\"prompt_tokens\".*/}/" >>"$out" || fail "alone: $item"
  done <"$work/in.jsonl"
}

one_by_one "$work/alone" --max-new-tokens 20
[ "$(sort -u "$work/alone" | wc -l)" = 10 ] || fail "the answers are alike: $(cat "$work/alone")"
for size in 1 3 64; do
  answers "$work/out" --max-new-tokens 20 --batch-size $size --batch-tokens $((size * 7))
  cmp -s "$work/out" "$work/alone" || fail "--batch-size $size: $(diff "$work/out" "$work/alone" | head -4)"
done
draw=(--max-new-tokens 12 --temperature 1.3 --top-p 0.9 --seed 5)
one_by_one "$work/drawn" "${draw[@]}"
answers "$work/out" "${draw[@]}" --batch-size 4
cmp -s "$work/out" "$work/drawn" || fail "drawn: $(diff "$work/out" "$work/drawn" | head -4)"
beams=(--max-new-tokens 15 --beams 3 --length-penalty 0.5 --early-stopping true --stop ' a')
one_by_one "$work/beams" "${beams[@]}"
if cmp -s "$work/beams" "$work/alone"; then fail "beams change nothing"; fi
answers "$work/out" "${beams[@]}" --batch-size 5
cmp -s "$work/out" "$work/beams" || fail "beams: $(diff "$work/out" "$work/beams" | head -4)"
answers "$work/out" --max-new-tokens 12 --preset alpaca-lora
answers "$work/out2" --max-new-tokens 12 --beams 4
cmp -s "$work/out" "$work/out2" || fail "--preset alpaca-lora is not 4 beams"
answers "$work/out" --max-new-tokens 12 --preset alpaca-lora --beams 1 --temperature 0.7 --seed 3
answers "$work/out2" --max-new-tokens 12 --temperature 0.7 --top-k 40 --top-p 0.75 --seed 3
cmp -s "$work/out" "$work/out2" || fail "--preset alpaca-lora with a temperature"
"$infer" --model "$work/gqa" --preset alpaca-lora --prompt x --json 2>/dev/null | grep -qE '"finish":"(eos|context)"|"ids":\[([0-9]+,){127}[0-9]+\]' ||
  fail "--preset alpaca-lora: 128 tokens"

# An adapter without a name serves whoever chooses none.
sed 's/, "adapter": "[a-z]*"//' "$work/in.jsonl" >"$work/plain.jsonl"
input=$work/plain.jsonl answers "$work/base" --max-new-tokens 8
input=$work/plain.jsonl answers "$work/out" --max-new-tokens 8 --adapter tests/golden/tiny_lora/all
sed 's/}$/, "adapter": "all"}/' "$work/plain.jsonl" >"$work/named.jsonl"
input=$work/named.jsonl answers "$work/out2" --max-new-tokens 8
cmp -s "$work/out" "$work/out2" || fail "the adapter without a name"
if cmp -s "$work/out" "$work/base"; then fail "the adapter changes nothing"; fi

# Other forms of the same input, and none.
gzip -c "$work/in.jsonl" >"$work/in.jsonl.gz"
input=$work/in.jsonl.gz answers "$work/out" --max-new-tokens 20
cmp -s "$work/out" "$work/alone" || fail "gzip"
"$infer" "${model[@]}" --batch - --output - --max-new-tokens 20 <"$work/in.jsonl" >"$work/out" 2>"$work/err" || fail "streams"
cmp -s "$work/out" "$work/alone" || fail "the standard streams"
echo '[]' >"$work/none.json"
input=$work/none.json answers "$work/out"
if [ -s "$work/out" ]; then fail "no lines, and an answer"; fi
printf '{"prompt": "x", "id": 7}\n{"prompt": "x", "id": -1.5}\n{"prompt": "x", "id": null, "input": null, "n": []}\n' >"$work/ids.jsonl"
input=$work/ids.jsonl answers "$work/out" --max-new-tokens 1
[ "$(sed -E 's/,"text".*//' "$work/out" | tr '\n' ' ')" = '{"id":7 {"id":-1.5 {"id":3 ' ] || fail "ids: $(cat "$work/out")"

# ---- what is wrong ----

# refuse_line STATUS PART LINE [OPTION...]: the second of three lines
refuse_line() {
  local expected=$1 part=$2
  printf '{"prompt": "x"}\n%s\n{"prompt": "y"}\n' "$3" >"$work/bad.jsonl"
  shift 3
  refuse "$expected" "$part" "$infer" "${model[@]}" --batch "$work/bad.jsonl" --output "$work/left" "$@"
  if [ -e "$work/left" ]; then fail "$part: an output"; fi
}

refuse_line 65 'bad.jsonl:2: item 1: expected either "prompt" or "instruction", found neither' '{"text": "x"}'
refuse_line 65 'bad.jsonl:2: item 1: expected either "prompt" or "instruction", found both' '{"prompt": "x", "instruction": "y"}'
refuse_line 65 'bad.jsonl:2: item 1: "prompt": expected a string, found a list' '{"prompt": ["x"]}'
refuse_line 65 'bad.jsonl:2: item 1: "input" goes with "instruction"' '{"prompt": "x", "input": "y"}'
refuse_line 65 "bad.jsonl:2: item 1: \"instruction\": expected a text, found ''" '{"instruction": ""}'
refuse_line 65 'bad.jsonl:2: item 1: "instruction": expected a text, found a NUL' '{"instruction": "a\u0000b"}'
refuse_line 65 'bad.jsonl:2: item 1: the prompt is empty' '{"prompt": ""}'
echo '{"prompt": "x", "adapter": "a"}' >"$work/nameless.jsonl"
refuse 65 'item 0: "adapter": no adapter has a name' "$infer" --model "$work/gqa" --batch "$work/nameless.jsonl" --output "$work/left"
refuse_line 65 "(meant 'all'?)" '{"prompt": "x", "adapter": "al"}'
refuse_line 65 'bad.jsonl:2: item 1: "id": expected a string or a number, found a list' '{"prompt": "x", "id": [1]}'
refuse_line 65 'bad.jsonl:2:' '{"prompt": "x"'
refuse_line 65 'leaves no room' "{\"prompt\": \"$(printf 'x %.0s' {1..100})\"}"
refuse_line 65 'bad.jsonl:2: item 1: expected an object' '[1]'
refuse_line 2 '--output is empty' '{"prompt": "x"}' --output ''
refuse 2 'where to' "$infer" "${model[@]}" --batch "$work/in.jsonl"
refuse 74 '/dev/full' "$infer" "${model[@]}" --batch "$work/in.jsonl" --output /dev/full

exit $failed
