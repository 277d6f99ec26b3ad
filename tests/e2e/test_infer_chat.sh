#!/usr/bin/env bash
# labels: quick
# The chat of vma-infer: through a pipe with --chat, and once on a terminal.
set -uo pipefail

infer=$VMA_BIN/vma-infer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/support/cli.sh

mkdir "$work/tiny"
cp tests/golden/tiny_llama/mha/model.safetensors tests/support/tiny_tokenizer/* "$work/tiny"
sed 's/"max_position_embeddings": *[0-9]*/"max_position_embeddings": 200000/' tests/golden/tiny_llama/mha/config.json \
  >"$work/tiny/config.json"
model=(--model "$work/tiny" --threads 1)

# talk OPTION...: a chat whose lines are standard input
talk() {
  local status=0
  "$infer" "${model[@]}" --chat "$@" >"$work/out" 2>"$work/err" || status=$?
  if [ $status != 0 ]; then fail "--chat $*: status $status: $(cat "$work/err")"; fi
}

# said N TEXT: so many lines of stderr hold it
said() {
  [ "$(grep -cF -- "$2" "$work/err")" = "$1" ] || fail "not $1 times '$2': $(cat "$work/err")"
}

accept "$infer" "${model[@]}" --instruction 'The heart' -n 20
cp "$work/out" "$work/alone"
printf 'The heart\n' | talk -n 20
cmp -s "$work/out" "$work/alone" || fail "the first answer is another than that of --instruction"
said 1 'cut after 20 tokens: see --max-new-tokens'
printf 'The heart' | talk -n 20
cmp -s "$work/out" "$work/alone" || fail "a last line without a newline"

# A second answer sees the first; a new conversation does not.
printf 'The heart\n\nThe heart\n/reset\nThe heart\n' | talk -n 20
[ "$(grep -cxF -- "$(cat "$work/alone")" "$work/out")" = 2 ] || fail "the conversation, or /reset: $(cat "$work/out")"
said 1 'a new conversation'
printf '/system Be brief.\nThe heart\n/save %s\n/system\n/reset\nThe heart\n' "$work/saved" | talk -n 20
[ "$(tail -n 1 "$work/out")" = "$(tail -n 1 "$work/alone")" ] || fail "/system without a text"
grep -q '^{"messages":\[{"role":"system","content":"Be brief."},{"role":"user","content":"The heart"},{"role":"assistant","content":".*"}\]}$' \
  "$work/saved" || fail "saved: $(cat "$work/saved")"
if cmp -s <(head -c 10 "$work/out") <(head -c 10 "$work/alone"); then fail "/system changes nothing"; fi
accept "$infer" "${model[@]}" --instruction $'The\nheart' -n 20
cp "$work/out" "$work/two_lines"
printf 'The\\\nheart\n' | talk -n 20
cmp -s "$work/out" "$work/two_lines" || fail "a line that goes on: $(cat "$work/out")"
accept "$infer" "${model[@]}" --instruction 'The heart' -n 20 --template alpaca_short
cp "$work/out" "$work/short"
printf 'What?\nThe heart\n' | talk -n 20 --template alpaca_short # made for one question
[ "$(tail -n 1 "$work/out")" = "$(tail -n 1 "$work/short")" ] ||
  fail "alpaca_short sees the question before"
printf 'The heart\n/reset\nThe heart\n' | talk -n 10 --beams 3
[ "$(head -n 1 "$work/out")" = "$(tail -n 1 "$work/out")" ] || fail "beams: $(cat "$work/out")"

# What is wrong is said, and the chat goes on.
printf '/help\n/nothing\n/save\n/save %s/no/where\n\xff\xfe\nThe heart\n/quit\nThe heart\n' "$work" | talk -n 20
cmp -s "$work/out" "$work/alone" || fail "after mistakes: $(cat "$work/out")"
said 1 "unknown command '/nothing'"
said 1 '/save FILE: where to?'
said 1 "$work/no/where"
said 1 'no UTF-8'
said 1 '/reset         begin'

# Longer than the context: the oldest turns are left out; a question that does not fit is said.
{
  for i in 1 2 3 4 5; do echo "The heart $i"; done
  printf 'x%.0s' {1..400}
  printf '\nThe heart\n'
} | talk -n 20 --context 230
grep -q 'its first 2 turns are no longer seen' "$work/err" || fail "nothing is left out: $(cat "$work/err")"
said 1 'the context has 230: shorten it'
[ "$(wc -l <"$work/out")" -ge 6 ] || fail "not six answers: $(cat "$work/out")"
printf 'The heart\n' | talk -n 500 --context 160
said 1 'the context is full'

refuse 2 '--json does not go with --chat' "$infer" "${model[@]}" --chat --json
refuse 2 '--chat and --score: give one of them' "$infer" "${model[@]}" --chat --score x --output y
refuse 2 '--context: expected' "$infer" "${model[@]}" --chat --context 7
refuse 2 '--context goes with --chat' "$infer" "${model[@]}" --prompt x --context 70
status=0
printf 'x\n' | "$infer" "${model[@]}" --chat >/dev/full 2>"$work/err" || status=$?
[ $status = 74 ] || fail "a full standard output: status $status"

# Ctrl-C ends an answer that would take minutes, and only that.
mkdir "$work/gqa"
cp tests/golden/tiny_llama/gqa/model.safetensors tests/support/tiny_tokenizer/* "$work/gqa"
sed 's/"max_position_embeddings": *[0-9]*/"max_position_embeddings": 200000/' tests/golden/tiny_llama/gqa/config.json \
  >"$work/gqa/config.json"
mkfifo "$work/lines"
"$infer" --model "$work/gqa" --threads 1 --chat -n 190000 --context 199000 <"$work/lines" >"$work/out" 2>"$work/err" &
pid=$!
exec 3>"$work/lines"
echo hello >&3
for _ in $(seq 600); do
  if [ -s "$work/out" ]; then break; fi
  sleep 0.1
done
kill -INT $pid
for _ in $(seq 600); do
  if grep -q stopped "$work/err"; then break; fi
  sleep 0.1
done
echo '/quit' >&3
exec 3>&-
wait $pid || fail "after Ctrl-C: status $?"
said 1 '[stopped]'

# On a terminal neither a question nor a job is needed.
if command -v script >/dev/null; then
  printf 'The heart\n/quit\n' |
    script -qec "'$infer' --model '$work/tiny' --threads 1 -n 20" /dev/null >"$work/terminal" 2>&1 || fail "on a terminal"
  tr -d '\r' <"$work/terminal" >"$work/plain"
  grep -qF '/help says what else can be typed' "$work/plain" || fail "no greeting: $(cat "$work/plain")"
  grep -q '> ' "$work/plain" || fail "no prompt: $(cat "$work/plain")"
  grep -qF -- "$(head -n 1 "$work/alone")" "$work/plain" || fail "no answer: $(cat "$work/plain")"
fi

exit $failed
