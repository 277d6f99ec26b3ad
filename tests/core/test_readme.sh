#!/usr/bin/env bash
# README.md says what is there: the paths of the folder map exist and name every top-level folder;
# every other path in backticks exists; every command of its shell blocks exists, with its options
# in --help and its keys in vma-train --print-config; every test that it names is a test.
# shellcheck disable=SC2016  # the backticks are those of Markdown
set -euo pipefail
readme=${1:-README.md}
failed=0
wrong() {
  echo "$readme: $*"
  failed=1
}

tracked() { # the files of the tree; outside a clone whatever lies here
  git -c safe.directory='*' ls-files 2>/dev/null || find . -type f ! -path './build/*' -printf '%P\n'
}

# The table of the section "Folder map": the first column.
map=$(awk '/^## /{ on = ($0 ~ /^## Folder map/) } on' "$readme" | sed -n 's/^| `\([^`]*\)` .*/\1/p')
[ "$(wc -w <<<"$map")" -ge 10 ] || wrong "the folder map is not found"
for path in $map; do
  [ -e "$path" ] || wrong "the folder map names $path, which does not exist"
done
while read -r folder; do
  grep -qx "$folder/\?" <<<"$map" || wrong "the folder map does not name $folder"
done < <(tracked | sed -n 's#/.*##p' | grep -v '^\.' | sort -u)
while read -r file; do
  grep -qF "\`$file\`" "$readme" || wrong "$file of the top level is not named"
done < <(tracked | grep -v -e / -e '^\.')

# Paths in backticks anywhere: what begins like a folder of the tree.
while read -r path; do
  [ -e "$path" ] || wrong "\`$path\` does not exist"
done < <(grep -o '`[^`]*`' "$readme" | tr -d '`' |
  grep -E '^(configs|data|infer|kernels|nn|tests|tools|train)/[A-Za-z0-9_./-]+$' | sort -u |
  while read -r path; do # what is the name of a test is looked at below
    compgen -G "tests/${path%%/*}/test_${path#*/}.*" >/dev/null || echo "$path"
  done)

# Tests, by the name that ctest gives them: `group/name`.
while read -r name; do
  group=${name%%/*} short=${name#*/}
  if [ -d "tests/$group" ] && ! [ -e "$name" ]; then
    compgen -G "tests/$group/test_$short.*" >/dev/null || wrong "there is no test $name"
  fi
done < <(grep -o '`[^`]*`' "$readme" | tr -d '`' | grep -E '^[a-z0-9]+/[a-z0-9_]+$' | sort -u)

# Commands of the shell blocks, continuation lines joined.
commands=$(awk '/^```sh/{ on = 1; next } /^```/{ on = 0 } on' "$readme" | sed -e ':a' -e '/\\$/N; s/\\\n//; ta')
[ -n "$commands" ] || wrong "no shell blocks"
[ "$(head -n 2 <<<"$commands" | grep -cE '^tools/(quickstart|check)\.sh')" = 2 ] ||
  wrong "the first two commands are not tools/quickstart.sh and tools/check.sh"
keys=$("$VMA_BIN/vma-train" --print-config)
has_key() { # has_key section.name
  awk -v section="${1%%.*}" -v name="${1#*.}" '
    /^[a-z_]+:/ { top = $1; sub(/:.*/, "", top); if (section == name && top == name) found = 1 }
    /^  [a-z_0-9]+:/ { key = $1; sub(/:.*/, "", key); if (top == section && key == name) found = 1 }
    END { exit !found }' <<<"$keys"
}
while read -r program rest; do
  case $program in
    tools/*)
      [ -x "$program" ] || wrong "$program is not a program"
      continue
      ;;
    build/bin/vma-*) ;;
    *) continue ;;
  esac
  binary=$VMA_BIN/${program##*/}
  if ! [ -x "$binary" ]; then
    wrong "$program is not built"
    continue
  fi
  help=$("$binary" --help)
  for option in $(grep -oE -- '(^| )--[a-z-]+' <<<"$rest" || true); do
    grep -qE -- "(^|[^a-z-])$option([^a-z-]|\$)" <<<"$help" || wrong "$program has no option $option"
  done
  if [ "${program##*/}" = vma-train ]; then
    for key in $(grep -oE '(^| )[a-z_]+(\.[a-z_0-9]+)?=' <<<"$rest" | tr -d '=' || true); do
      has_key "$key" || wrong "vma-train has no key $key"
    done
  fi
done <<<"$commands"
exit $failed
