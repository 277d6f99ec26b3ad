#!/usr/bin/env bash
# labels: quick
# vma-train --show: examples token by token with their labels, in the order of the first epoch, by a program that writes
# no files; in colours on a terminal.
set -uo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/e2e/train_lib.sh
source tests/e2e/train_lib.sh

tiny_model tiny gqa
cat >"$work/data.jsonl" <<'END'
{"instruction": "Is <|im_end|>\t\"é\" a\u202eb?", "output": "no </s>, naïve"}
{"instruction": "b", "input": "c", "output": "d"}
END
show() { "$train" model.path="$work/tiny" data.path="$work/data.jsonl" data.template=none data.val_set_size=0 "$@"; }

# expect WHAT: the output is that of standard input
expect() { diff - "$work/out" || fail "$1"; }

# ---- the plain form: special tokens bare and texts in quotes, what cannot be seen escaped ----

accept show --show 9 model.path=tests/golden/dataset/spm data.shuffle=false data.cutoff_len=35
expect "an example that is cut and one that is not" <<END
# place, id, token; * and its colour: a label, which the model learns to foretell from all before it

# example 1 of 2: item 0 of $work/data.jsonl; 35 tokens, 11 of them labels; cut at data.cutoff_len=35
       0        1     <s>
       1      334     " I"
       2      660     "s"
       3      655     " "
       4       63     "<"
       5      127     "|"
       6      343     "im"
       7       98     "_"
       8      275     "en"
       9      666     "d"
      10      127     "|"
      11       65     ">"
      12       12     "\\t"
      13       37     "\\""
      14      198     (a part of the next character)
      15      172     "é"
      16       37     "\\""
      17      260     " a"
      18      229     (a part of the next character)
      19      131     (a part of the next character)
      20      177     "\\u202e"
      21      674     "b"
      22      688     "?"
      23       13     "\\n"
      24      662  *  "n"
      25      661  *  "o"
      26      655  *  " "
      27       63  *  "<"
      28       50  *  "/"
      29      660  *  "s"
      30       65  *  ">"
      31      677  *  ","
      32      307  *  " n"
      33      658  *  "a"
      34      198  *  (a part of the next character)
                   (the end is inside a character)

# example 2 of 2: item 1 of $work/data.jsonl; 7 tokens, 2 of them labels
       0        1     <s>
       1      279     " b"
       2       13     "\\n"
       3      667     "c"
       4       13     "\\n"
       5      666  *  "d"
       6        2  *  </s>

# shown: 2 of 2 training examples, 42 tokens, 13 of them labels
END

# ---- every token that the loss counts is marked, and no other ----

accept show --show 9 data.train_on_inputs=true
[ "$(grep -cE '^ +[0-9]+ +[0-9]+  \*' "$work/out")" = "$(sed -n 's/^# shown: .*, \([0-9]*\) of them labels$/\1/p' "$work/out")" ] ||
  fail "other marks than labels: $(cat "$work/out")"
[ "$(grep -cE '^ +0 +[0-9]+     ' "$work/out")" = 2 ] || fail "a first token is a label: $(cat "$work/out")"

# ---- the order is that of the first epoch ----

counting_data
items() { sed -n 's/^# example .*: item \([0-9]*\) of .*/\1/p' "$work/out" | tr '\n' ' '; }
accept show --show 99 data.shuffle=false
[ "$(items)" = "0 1 2 3 4 5 6 7 8 9 10 11 12 " ] || fail "without a shuffle: $(items)"
accept show --show 99 data.shuffle=false data.group_by_length=true train.batch_size=16
[ "$(items)" = "12 11 10 9 8 7 6 5 4 3 2 1 0 " ] || fail "by length: $(items)"
accept show --show 99 train.seed=1
first=$(items)
accept show --show 99 train.seed=2
[ "$first" != "$(items)" ] || fail "the seed changes nothing: $first"
accept show --show 4 data.val_set_size=3
[ "$(items | wc -w)" = 4 ] || fail "not 4: $(items)"
grep -q '^# shown: 4 of 10 training' "$work/out" || fail "not of 10: $(tail -1 "$work/out")"

# ---- colours ----

if command -v script >/dev/null; then
  colours() { env "$@" TERM=xterm script -qec "$(printf '%q ' "$train" model.path="$work/tiny" data.path="$work/data.jsonl" --show 1)" /dev/null; }
  colours NO_COLOR= >"$work/out"
  grep -q $'^\x1b\\[32m.*\\*.*\x1b\\[0m' "$work/out" || fail "no colour on a terminal: $(cat -v "$work/out")"
  colours NO_COLOR=1 >"$work/out"
  if grep -q $'\x1b' "$work/out"; then fail "colours with NO_COLOR: $(cat -v "$work/out")"; fi
fi

# ---- mistakes ----

for n in 0 -1 x 2x ''; do
  if show --show "$n" >"$work/out" 2>"$work/err" || [ $? != 2 ]; then fail "--show '$n' is taken"; fi
  grep -q -- '--show: expected a number of examples' "$work/err" || fail "--show '$n': $(cat "$work/err")"
done
refuse 2 "the key 'data.path' is missing" "$train" --show 1 model.path="$work/tiny"
refuse 66 "$work/none" show --show 1 data.path="$work/none"
exit $failed
