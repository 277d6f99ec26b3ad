#!/usr/bin/env bash
# labels: sim
# The look at a toolkit's objects that the configure step takes: silent with the build's own flags; one clear line for
# compressed fat binaries, for an object without PTX or lines, with another magic number, or with unknown host calls.
set -euo pipefail
arguments=$VMA_BUILD/tests/layout/arguments
if [ ! -r "$arguments" ]; then
  echo "SKIP: no CUDA toolkit: there is no simulated device in this build"
  exit 77
fi
mapfile -t all <"$arguments"
cc=${all[0]} nvcc=${all[1]}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0

# One architecture is enough here: flags without the others'.
flags=()
for ((i = 2; i < ${#all[@]}; i++)); do
  case ${all[i]} in
  -gencode) i=$((i + 1)) ;;
  *) flags+=("${all[i]}") ;;
  esac
done

# look NAME TEXT FLAGS...: TEXT is in the one line that it says, which is empty where all is well.
look() {
  local name=$1 text=$2 said status=0
  shift 2
  said=$(tests/sim/layout_check.sh "$folder" "$cc" "$nvcc" "$@" 2>&1) || status=$?
  if [ -z "$text" ] && [ $status = 0 ] && [ -z "$said" ]; then return; fi
  if [ -n "$text" ] && [ $status = 1 ] && [[ $said == "this toolkit's object layout is unknown (nvcc "*"$text"* ]] &&
    [ "$(wc -l <<<"$said")" = 1 ]; then
    echo "  $name: $said"
    return
  fi
  echo "$name: status $status, it said: $said"
  failed=1
}

both=(-gencode 'arch=compute_80,code=[sm_80,compute_80]')
look "the build's flags" "" "${flags[@]}" "${both[@]}"
cp "$folder/layout_probe.o" "$folder/good.o"
compressed=()
for flag in "${flags[@]}"; do [ "$flag" = --no-compress ] || compressed+=("$flag"); done
look "compressed" "the PTX is compressed: compile with nvcc --no-compress" "${compressed[@]}" "${both[@]}"
look "machine code alone" "the fat binary has no PTX at all" "${flags[@]}" -gencode 'arch=compute_80,code=[sm_80]'
look "PTX alone" "its machine code tells no registers" "${flags[@]}" -gencode 'arch=compute_80,code=[compute_80]'
plain=()
for flag in "${flags[@]}"; do [ "$flag" = -lineinfo ] || plain+=("$flag"); done
look "no lines" "names no source lines" "${plain[@]}" "${both[@]}"

export VMA_LAYOUT_OBJECT=$folder/other.o
LC_ALL=C sed 's/\x50\xed\x55\xba/\x51\xed\x55\xba/' "$folder/good.o" >"$VMA_LAYOUT_OBJECT"
look "another magic number" "magic number or version of the header" "${flags[@]}" "${both[@]}"
LC_ALL=C sed 's/__cudaRegisterVar\x00/__cudaRegisterVas\x00/' "$folder/good.o" >"$VMA_LAYOUT_OBJECT"
look "another host call" "its host code calls __cudaRegisterVas which" "${flags[@]}" "${both[@]}"
exit $failed
