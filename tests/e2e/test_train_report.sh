#!/usr/bin/env bash
# labels: quick
# report.html of tiny runs: well-formed, equal to metrics.jsonl in what it draws and says, without a trace of HTML from
# hostile texts, also of runs that stopped, went on or made no step.
set -uo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/e2e/train_lib.sh
source tests/e2e/train_lib.sh
tiny_model tiny gqa
counting_data
tiny_run

# well_formed FILE: every element is closed where it must be; also by xmllint where there is one
well_formed() {
  awk 'BEGIN { RS = "<" }
    NR == 1 || /^!DOCTYPE/ { next }
    index($0, ">") == 0 { bad = bad " no end of " $0; next }
    /^\// { name = substr($0, 2, index($0, ">") - 2); if (stack[depth--] != name) bad = bad " </" name ">"; next }
    { tag = substr($0, 1, index($0, ">") - 1); name = tag; sub(/[ \n].*/, "", name) }
    tag ~ /\/$/ { next }
    { stack[++depth] = name }
    END { if (depth != 0 || bad != "") { print "not well-formed:" bad ", depth " depth; exit 1 } }' "$1" || fail "$1"
  if type xmllint >/dev/null 2>&1; then xmllint --noout "$1" || fail "$1: xmllint"; fi
  if grep -nE '<(script|link|img|iframe)|https?://' "$1" | grep -vE 'xmlns="http://www.w3.org'; then fail "$1 is not self-contained"; fi
}

# ---- what it draws and says ----

accept run output.dir="$work/whole"
page=$work/whole/report.html
well_formed "$page"
grep -qF "report: $page" "$work/out" || fail "the report is not named: $(tail -n 5 "$work/out")"
for part in 'vma-train [0-9.]*, finished' '<meta name="viewport"' 'prefers-color-scheme:dark' '<html lang="en"' \
  'role="img"' '<desc id="loss-desc">training loss: ' '9 of 9 (3.00 epochs)' 'items            13' 'template: none' \
  '<a href="adapter/">' '<a href="metrics.jsonl">' 'keys and values of generation' 's by the plan'; do
  grep -q "$part" "$page" || fail "no '$part' in the report"
done
# The points of the held-out loss, and their table, are the lines of metrics.jsonl.
sed -n 's/^{"step": \([0-9]*\), "eval_loss": \([^,]*\),.*/\1 \2/p' "$work/whole/metrics.jsonl" >"$work/evals"
sed -n 's/.*<circle class="held".*<title>step \([0-9]*\): \(.*\)<\/title>.*/\1 \2/p' "$page" | cmp -s - "$work/evals" || fail "held-out points"
sed -n 's/^<tr><td class="n">\([0-9]*\)<\/td><td class="n">\(.*\)<\/td><\/tr>/\1 \2/p' "$page" | cmp -s - "$work/evals" || fail "held-out table"
losses=$(sed -n 's/^{"step": [0-9]*, "loss": \([^,]*\),.*/\1/p' "$work/whole/metrics.jsonl")
grep -qF "<td>$(head -n 1 <<<"$losses") at first, $(tail -n 1 <<<"$losses") at last</td>" "$page" || fail "training losses"
# Every point of each curve, read back from the drawing by its axes, is the value of its step.
curve() { # curve ID CLASS: "step value" lines
  awk -v id="$1" -v class="line $2" '
    index($0, "<svg id=\"" id "\"") { on = 1
      match($0, /data-x="[^"]*"/); split(substr($0, RSTART + 8, RLENGTH - 9), x, " ")
      match($0, /data-y="[^"]*"/); split(substr($0, RSTART + 8, RLENGTH - 9), y, " ") }
    /<\/svg>/ { on = 0 }
    on && index($0, "class=\"" class "\"") {
      sub(/.* d="M/, ""); sub(/".*/, ""); n = split($0, point, /[LM]/)
      for (i = 1; i <= n; i++) { split(point[i], at, " ")
        print x[1] + (at[1] - 64) / (720 - 64 - 12) * (x[2] - x[1]), y[2] - (at[2] - 12) / (260 - 12 - 34) * (y[2] - y[1]), y[2] - y[1] } }' "$page"
}
same_curve() { # same_curve ID CLASS KEY
  sed -n 's/^{"step": \([0-9]*\), "loss.*"'"$3"'": \([^,]*\),.*/\1 \2/p' "$work/whole/metrics.jsonl" >"$work/points"
  [ -s "$work/points" ] || sed -n 's/^{"step": \([0-9]*\), "loss": \([^,]*\),.*/\1 \2/p' "$work/whole/metrics.jsonl" >"$work/points"
  curve "$1" "$2" | paste -d ' ' - "$work/points" |
    awk '{ dx = $1 - $4; dy = $2 - $5; if (NF != 5 || dx * dx > 1e-3 || dy * dy > 1e-6 * $3 * $3) { print; bad = 1 } } END { exit bad || NR != 9 }' ||
    fail "the curve $1 is not $3 of metrics.jsonl"
}
same_curve loss train loss
same_curve norm other grad_norm
same_curve lr other lr
# Sample answers: three, of held-out items, with the words of the data.
[ "$(grep -c '<section class="sample">' "$page")" = 3 ] || fail "samples: $(grep -c 'class="sample"' "$page")"
grep -q '<pre class="said">1 2 3 4 5</pre>' "$page" || fail "samples: no answer of the data"
[ "$(grep -c '<h4>After training</h4>' "$page")" = 3 ] || fail "samples"
if grep -q 'not made' "$page"; then fail "an answer was not made"; fi
grep -q '^3 sample answers before training, [0-9]* tokens' "$work/out" || fail "samples: no word of the cost"
# What the trained model says is what vma-infer says with the adapter.
item=$(sed -n 's/.*"item": \([0-9]*\),.*/\1/p' "$work/whole/samples.json" | head -n 1)
"$VMA_BIN/vma-infer" --model "$work/tiny" --adapter "$work/whole/adapter" --dtype f32 --temperature 0 --max-new-tokens 64 \
  --prompt "Count to $((item + 1))
" >"$work/said" 2>"$work/err" </dev/null || fail "vma-infer: $(cat "$work/err")"
after=$(sed -n 's/^ *"after": "\(.*\)",\{0,1\}$/\1/p' "$work/whole/samples.json" | head -n 1)
[ "$(printf '%b' "${after//\\\"/\"}")" = "$(cat "$work/said")" ] || fail "another answer than vma-infer's: '$after' and '$(cat "$work/said")'"

# ---- without it ----

accept run output.dir="$work/bare" output.report=false
for file in report.html samples.json; do gone "$work/bare/$file" || fail "output.report=false leaves $file"; done
cmp -s "$work/bare/adapter/adapter_model.safetensors" "$work/whole/adapter/adapter_model.safetensors" || fail "the report changes the run"
accept run output.dir="$work/nothing" data.val_set_size=0
page=$work/nothing/report.html
well_formed "$page"
gone "$work/nothing/samples.json" || fail "samples without held-out items"
if grep -q 'Sample answers' "$page"; then fail "samples without held-out items"; fi

# ---- runs that went on ----

accept run output.dir="$work/moved" output.save_steps=4
mkdir -p "$work/on/checkpoints"
cp -r "$work/moved/checkpoints/step-000004" "$work/on/checkpoints"
cp "$work/moved"/{metrics.jsonl,samples.json} "$work/on"
accept run output.dir="$work/on" resume=auto output.save_steps=4
page=$work/on/report.html
well_formed "$page"
same_run "$work/on" "$work/moved"
[ "$(grep -c '<circle' "$page")" = 6 ] || fail "going on: the report shows a part"
if grep -q 'not made' "$page"; then fail "going on: the answers before training are lost"; fi
# One that has no step of its own to show.
accept run output.dir="$work/none" resume="$work/moved/checkpoints/step-000009"
page=$work/none/report.html
well_formed "$page"
grep -q 'No values' "$page" || fail "a report without steps"
# One that was stopped.
"$train" --config "$work/run.yaml" train.max_steps=1000000 output.dir="$work/stopped" >"$work/out" 2>&1 &
child=$!
wait_until $child has_lines "$work/stopped/metrics.jsonl" 30
kill -TERM $child
wait $child
page=$work/stopped/report.html
well_formed "$page"
grep -q '<td>stopped by a signal after step' "$page" || fail "a stopped run's report"
grep -q 'not made' "$page" || fail "a stopped run's answers after training"

# ---- hostile texts ----

hostile='</pre><script>alert(1)</script>&lt;\"'"'"'\u0001\ufffe & ]]>'
for i in 1 2 3 4 5 6; do echo "{\"instruction\": \"$i $hostile\", \"output\": \"$hostile\"}"; done >"$work/<i>&\"'data.jsonl"
dir="$work/<b onload=x>&'\"</title>"
run output.dir="$dir" data.path="$work/<i>&\"'data.jsonl" data.cutoff_len=120 >"$work/out" 2>"$work/err" || fail "hostile: $(cat "$work/err")"
page=$dir/report.html
well_formed "$page"
if grep -qE '<script|<b |<i>' "$page"; then fail "hostile texts are not escaped"; fi
[ "$(grep -c '&lt;script&gt;alert(1)' "$page")" -ge 6 ] || fail "hostile texts are lost: $(grep -c '&lt;script' "$page")"
LC_ALL=C grep -qE $'[\001-\010\013-\037]' "$page" && fail "control characters in the report"

exit $failed
