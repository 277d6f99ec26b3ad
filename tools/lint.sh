#!/usr/bin/env bash
# Checks the rules of the code over the tracked files; prints "path:line: rule: what is wrong" and exits 1 when there
# is an error, 77 when all is well but clang-format 14 is not installed (so its rule could not be checked).
#
#   tools/lint.sh          checks
#   tools/lint.sh --fix    lays the C files out first (clang-format -i)
#
#   format     clang-format 14 with .clang-format leaves every C file as it is
#   banned, include, ptx, kernel, length    see tools/lint.awk
#   name       file names are snake_case; no two source files share a base name (main.c excepted)
#   space      no tabs, no spaces at the end of a line, a newline at the end of a file
#   path       no paths of one machine
#   header     every header begins with a comment that says what it is for
#   shell      shellcheck finds nothing in the scripts (if it is installed)
set -euo pipefail
tools=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
cd "${VMA_LINT_ROOT:-$tools/..}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
found=$work/found
touch "$found"

tracked() { # tracked PATTERN...: the tracked files that exist, one a line
  local file
  git -c safe.directory='*' ls-files -- "$@" | while IFS= read -r file; do
    if [ -f "$file" ]; then printf '%s\n' "$file"; fi
  done
}

tracked >"$work/all"
tracked '*.c' '*.h' '*.cu' '*.cuh' >"$work/c"
tracked '*.sh' '.ci/run' >"$work/sh"
tracked '*.c' '*.h' '*.cu' '*.cuh' '*.sh' '*.py' '*.awk' >"$work/source"
# What is kept byte for byte (made by other programs, or broken on purpose) is no text of ours.
grep -vE '^(tests/golden/|tests/fuzz/corpus)' "$work/all" | tr '\n' '\0' | xargs -0 -r grep -lI '' >"$work/text" || true

# each LIST COMMAND...: the command with the files of a list as its last arguments
each() {
  local list=$1
  shift
  tr '\n' '\0' <"$list" | xargs -0 -r "$@"
}

formatter=
for name in clang-format-14 clang-format; do
  if command -v "$name" >/dev/null && "$name" --version | grep -q 'version 14\.'; then
    formatter=$name
    break
  fi
done
if [ -n "$formatter" ]; then
  if [ "${1:-}" = --fix ]; then each "$work/c" "$formatter" -i --style=file; fi
  each "$work/c" "$formatter" --dry-run --Werror --style=file 2>&1 |
    sed -nE 's/^([^:]+:[0-9]+):[0-9]+: error: code should be clang-formatted.*/\1: format: run tools\/lint.sh --fix/p' |
    sort -u >>"$found" || true
fi

# Which folder owns each header.
grep -E '\.(h|cuh)$' "$work/c" | sed -E 's|^(.*)/([^/]+)$|\2 \1|' >"$work/owners" || true
each "$work/c" awk -v owners="$work/owners" -f "$tools/lint.awk" >>"$found"

while IFS= read -r file; do
  base=${file##*/}
  if ! [[ $base =~ ^[a-z0-9_]+\.[a-z]+$ ]]; then
    echo "$file:1: name: file names are snake_case" >>"$found"
  fi
  case $file in
    *.h | *.cuh)
      read -r line <"$file" || true
      case $line in
        //* | /\**) ;;
        *) echo "$file:1: header: begin with a comment that says what this header is for" >>"$found" ;;
      esac
      ;;
    *.sh | *.py | *.awk)
      lines=$(wc -l <"$file")
      if [ "$lines" -gt 700 ]; then echo "$file:$lines: length: more than 700 lines: two ideas in one file" >>"$found"; fi
      ;;
  esac
done <"$work/source"
sed 's|.*/||' "$work/source" | sort | uniq -d | while IFS= read -r base; do
  if [ "$base" != main.c ]; then
    grep -E "(^|/)${base//./\\.}\$" "$work/source" | sed "s|\$|:1: name: $base is the name of two files|" >>"$found"
  fi
done

search() { # search RULE WHAT REGEX LIST
  each "$4" grep -HnE -- "$3" | sed -E "s/^([^:]+:[0-9]+):.*/\1: $1: $2/" >>"$found" || true
}
search space 'a tab' $'\t' "$work/text"
search space 'a space at the end of the line' ' $' "$work/text"
while IFS= read -r file; do
  if [ -s "$file" ] && [ -n "$(tail -c 1 "$file")" ]; then echo "$file:1: space: no newline at the end of the file" >>"$found"; fi
done <"$work/text"
search path 'a path of one machine' '(^|[^A-Za-z0-9_.$}/])/((work|home/[a-z]+|root)(/|$)|tmp/bash_[j]obs)' "$work/text"

if command -v shellcheck >/dev/null; then
  each "$work/sh" shellcheck -x -f gcc 2>&1 | sed -E 's/^([^:]+:[0-9]+):[0-9]+: [a-z]+: /\1: shell: /' >>"$found" || true
fi

sort -t: -k1,1 -k2,2n "$found"
errors=$(grep -vcE '^[^:]+:[0-9]+: warning: ' "$found" || true)
echo "lint: $(wc -l <"$work/all") files, $errors errors, $(($(wc -l <"$found") - errors)) warnings"
if [ "$errors" -gt 0 ]; then exit 1; fi
if [ -z "$formatter" ]; then
  echo "SKIP: clang-format 14 is not installed (apt-get install clang-format-14); the other rules were checked"
  exit 77
fi
