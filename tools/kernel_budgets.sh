#!/usr/bin/env bash
# What ptxas said of every kernel of kernels/cuda, against what the kernel may take: no spills on any architecture, and
# at most the registers and static shared memory of the line beside it in its .cu file:
#
#   // budget: kernel_name registers=32 shared=1024
#
#   tools/kernel_budgets.sh [BUILD]          checks; prints what is over or has no budget, and exits with 1
#   tools/kernel_budgets.sh --fix [BUILD]    writes the lines (registers rounded up to a multiple of 8)
set -euo pipefail
cd "${VMA_BUDGET_ROOT:-$(dirname "$0")/..}"
fix=no
if [ "${1:-}" = --fix ]; then
  fix=yes
  shift
fi
build=${1:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

shopt -s nullglob
reports=("$build"/kernels/cuda_objects/*.ptxas)
if [ ${#reports[@]} = 0 ]; then
  echo "kernel_budgets: no report of ptxas in $build/kernels/cuda_objects: build first" >&2
  exit 1
fi

# usage REPORT: "kernel registers shared spills arch" of every kernel of every architecture.
usage() {
  awk '
    function plain(name,    n, last, nested) { # the name inside a mangled one
      if (!sub(/^_Z/, "", name)) return name
      sub(/^L/, "", name)
      nested = sub(/^N/, "", name)
      while (match(name, /^[0-9]+/)) {
        n = substr(name, 1, RLENGTH) + 0
        last = substr(name, RLENGTH + 1, n)
        name = substr(name, RLENGTH + n + 1)
        if (!nested) break
      }
      return last
    }
    function done() { if (kernel != "") print kernel, registers, shared, spills, arch }
    /Compiling entry function/ {
      done()
      split($0, part, "\047")
      kernel = plain(part[2])
      arch = part[4]
      registers = shared = spills = 0
    }
    /bytes spill stores/ {
      match($0, /[0-9]+ bytes spill stores/)
      spills += substr($0, RSTART, RLENGTH) + 0
      match($0, /[0-9]+ bytes spill loads/)
      spills += substr($0, RSTART, RLENGTH) + 0
    }
    /Used [0-9]+ registers/ {
      match($0, /Used [0-9]+/)
      registers = substr($0, RSTART + 5, RLENGTH - 5) + 0
      if (match($0, /[0-9]+ bytes smem/)) shared = substr($0, RSTART, RLENGTH) + 0
    }
    END { done() }
  ' "$1"
}

# The largest of all architectures and instantiations.
largest() {
  awk '{ if (!($1 in r)) order[++n] = $1
         if ($2 > r[$1]) r[$1] = $2
         if ($3 > s[$1]) s[$1] = $3
         r[$1] += 0 }
       END { for (i = 1; i <= n; i++) print order[i], r[order[i]], s[order[i]] + 0 }' "$1"
}

failed=0
kernels=0
for report in "${reports[@]}"; do
  name=$(basename "$report" .ptxas)
  source=kernels/cuda/$name.cu
  [ -f "$source" ] || continue # of a file that is gone
  usage "$report" >"$work/usage"
  largest "$work/usage" >"$work/largest"
  if [ $fix = yes ]; then
    # The line goes above the kernel and its template line; what stood there before goes.
    grep -vE '^// budget: ' "$source" >"$work/bare" || true
    awk -v largest="$work/largest" '
      BEGIN {
        while ((getline line < largest) > 0) {
          split(line, part, " ")
          budget[part[1]] = "// budget: " part[1] " registers=" int((part[2] + 7) / 8) * 8 " shared=" part[3]
        }
      }
      { text[NR] = $0 }
      END {
        for (i = 1; i <= NR; i++) {
          if (text[i] !~ /__global__/) continue
          near = text[i] " " text[i + 1] " " text[i + 2]
          for (k in budget) {
            if (near !~ ("[^A-Za-z0-9_]" k "\\(")) continue
            at = i
            while (at > 1 && text[at - 1] ~ /^(template|static)/) at--
            if (!(k in put)) above[at] = budget[k]
            put[k] = 1
          }
        }
        for (i = 1; i <= NR; i++) {
          if (i in above) print above[i]
          print text[i]
        }
      }' "$work/bare" >"$work/fixed"
    cmp -s "$work/fixed" "$source" || cat "$work/fixed" >"$source"
  fi
  while read -r kernel registers shared spills arch; do
    if [ "$spills" != 0 ]; then
      echo "$source:1: budget: $kernel spills $spills bytes on $arch ($registers registers)"
      failed=1
    fi
    : "$shared"
  done < <(sort -u "$work/usage")
  while read -r kernel registers shared; do
    kernels=$((kernels + 1))
    line=$(grep -nE "^// budget: $kernel registers=[0-9]+ shared=[0-9]+\$" "$source" | head -1 || true)
    if [ -z "$line" ]; then
      echo "$source:1: budget: $kernel has none; it takes registers=$registers shared=$shared (tools/kernel_budgets.sh --fix)"
      failed=1
      continue
    fi
    may=${line##*registers=}
    may_shared=${may##*shared=}
    may=${may%% *}
    if [ "$registers" -gt "$may" ] || [ "$shared" -gt "$may_shared" ]; then
      echo "$source:${line%%:*}: budget: $kernel takes registers=$registers shared=$shared"
      failed=1
    fi
  done <"$work/largest"
done
echo "kernel_budgets: $kernels kernels"
exit $failed
