#!/usr/bin/env bash
# The plans that README.md shows are what the program says: every block that begins with a command ending in --dry-run.
set -uo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/support/cli.sh

# $work/plan.N: the command, then what is shown of it
awk -v out="$work/plan." '
  /^```/ { inside = 0 }
  inside { print > (out n) }
  /^\$ build\/bin\/vma-train .*--dry-run$/ { n++; inside = 1; print > (out n) }
' README.md
plans=0
for shown in "$work"/plan.*; do
  read -ra command < <(sed -n '1s/^\$ build\/bin\///p' "$shown")
  accept "$VMA_BIN/${command[0]}" "${command[@]:1}"
  tail -n +2 "$shown" >"$work/shown"
  diff "$work/shown" "$work/out" >"$work/diff" ||
    fail "README.md shows another plan of ${command[2]} (give it what the program says): $(cat "$work/diff")"
  plans=$((plans + 1))
done
[ $plans -ge 2 ] || fail "README.md shows $plans plans"
exit $failed
