#!/usr/bin/env bash
# Drops instructions of the CUDA kernels, one at a time (tests/support/parity_mutate.h), runs the parity cases that launch
# them on the simulated device, and prints how many were caught, by kernel file and kind, and each that was not.
#
#   mutation.sh BUILD                          every point of every kernel
#   mutation.sh --kernel TEXT BUILD            of the kernels whose names contain TEXT
#   mutation.sh --sample K --seed S BUILD      one point of K
#   mutation.sh --programs "loss norm" BUILD   with the cases of those parity programs only
#
# A point counts once for each instance of a template. It survives where the cases pass without it, or where no case would
# have done anything else without it ("idle"). Fails where a survivor is not explained in tests/sim/mutation_survivors.txt,
# whose lines are "kernel | file:line | kind | reason", and, if every point was tried, where an explained one no longer
# survives or fewer than 95 % are caught.
set -euo pipefail
sample=1 seed=0 kernel='' only=''
while [[ $# -gt 1 ]]; do
  case $1 in
    --sample) sample=$2 ;;
    --seed) seed=$2 ;;
    --kernel) kernel=$2 ;;
    --programs) only=$2 ;;
    *) echo "mutation.sh: unknown option $1" >&2 && exit 2 ;;
  esac
  shift 2
done
build=$1
module=$build/tests/libvma_cuda_sim.so
if [ ! -e "$module" ]; then
  echo "SKIP: no CUDA toolkit at build time: there are no kernels"
  exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

export VMA_PARITY=cuda VMA_CUDA_MODULE=$module OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
export VMA_MUTATE_SAMPLE=$sample VMA_MUTATE_SEED=$seed VMA_MUTATE_KERNEL=$kernel

programs=$only
if [ -z "$only" ]; then
  programs=$(cd "$build/tests" && find . -maxdepth 1 -name 'test_parity_*' -executable | sed 's/.*test_parity_//' | grep -v library | sort)
fi
chain() { # STATE PROGRAM...: one after the other; each goes on with what the ones before have not caught
  local state=$1 program
  shift
  for program; do
    VMA_MUTATE=$state "$build/tests/test_parity_$program" > "$state.$program.log" 2>&1 || {
      echo "parity_$program fails by itself:"
      tail -5 "$state.$program.log"
      touch "$folder/failed"
    }
  done
}
even=() odd=()
for program in $programs; do
  if ((${#even[@]} > ${#odd[@]})); then odd+=("$program"); else even+=("$program"); fi
done
chain "$folder/even" "${even[@]}" &
chain "$folder/odd" "${odd[@]}"
wait
[ -e "$folder/even" ] || { echo "no parity case ran on the simulated device" && exit 1; }
[ -e "$folder/odd" ] || sed 's/^[0-9]*\t[01]/0\t0/' "$folder/even" > "$folder/odd"

# Kernel, without template arguments, and the file that it lies in.
grep -o '[A-Za-z0-9_]*_kernel(' kernels/cuda/*.cu | sort -u | sed 's/\(.*\/\)\(.*\):\(.*\)(/\3\t\2/' > "$folder/files"

# Of both chains: fate, kernel, place, kind.
paste "$folder/even" "$folder/odd" | awk -F'\t' -v OFS='\t' '{
  match($3, /: (barrier|warp sync|cp.async wait|bounds): /)
  kernel = substr($3, 1, RSTART - 1); kind = substr($3, RSTART + 2, RLENGTH - 4)
  place = $3; sub(/.* at /, "", place)
  sub(/\(.*/, "", kernel); sub(/<.*/, "", kernel); sub(/^.*[ :]/, "", kernel)
  fate = $2 || $5 ? "caught" : $1 + $4 ? "survives" : "idle"
  print fate, kernel, place, kind
}' | sort > "$folder/points"

awk -F'\t' -v sample="$sample" -v part="$kernel$only" '
  FILENAME ~ /files$/ { file[$1] = $2; next }
  FILENAME ~ /survivors.txt$/ { if ($0 !~ /^#/ && split($0, w, " [|] ") >= 4) reason[w[2] FS w[1] FS w[3]] = 1; next }
  {
    row = sprintf("%-28s %-14s", $2 in file ? file[$2] : "?", $4)
    points[row]++; all++
    if ($1 == "caught") { caught[row]++; found++; next }
    key = $3 FS $2 FS $4
    if (key in reason) { used[key] = 1; told[row]++; reasons++; next }
    left[row]++; open++
    count[key FS $1]++
  }
  END {
    printf "%-28s %-14s %7s %7s %10s %9s\n", "kernel file", "kind", "points", "caught", "explained", "left"
    for (row in points)
      printf "%s %7d %7d %10d %9d\n", row, points[row], caught[row], told[row], left[row] | "sort"
    close("sort")
    printf "%d points: %d caught (%.1f %%), %d survive and are explained, %d are left\n", all, found, all ? 100 * found / all : 0, reasons, open
    for (k in count) {
      split(k, at, FS)
      split(at[1], place, ":")
      text = ""
      for (i = 1; i <= place[2]; i++) if ((getline text < ("kernels/cuda/" place[1])) <= 0) break
      close("kernels/cuda/" place[1])
      sub(/^ */, "", text)
      printf "not explained: %s | %s | %s | (%s, in %d instances) %s\n", at[2], at[1], at[3], at[4], count[k], text | "sort -t: -k2"
    }
    close("sort -t: -k2")
    bad = open > 0 || all == 0
    if (sample == 1 && part == "") {
      for (key in reason)
        if (!(key in used)) { split(key, at, FS); print "explained, but caught or gone: " at[2] " " at[1] " " at[3]; bad = 1 }
      if (found < 0.95 * all) { print "fewer than 95 % are caught"; bad = 1 }
    }
    exit bad
  }' "$folder/files" tests/sim/mutation_survivors.txt "$folder/points"
[ ! -e "$folder/failed" ]
