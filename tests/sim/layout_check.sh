#!/usr/bin/env bash
# layout_check.sh FOLDER CC NVCC FLAGS...: whether the simulated device knows how this nvcc, with these very flags, lays
# out an object. Quiet where it does; else one clear line and exit status 1. FOLDER keeps what was built, and the
# arguments. VMA_LAYOUT_OBJECT: an object to look into in place of a new one.
set -euo pipefail
cd "$(dirname "$0")"
folder=$1 cc=$2 nvcc=$3
mkdir -p "$folder"
printf '%s\n' "${@:2}" >"$folder/arguments"
shift 3
version=$("$nvcc" --version | sed -n 's/.*release .*, V\([0-9.]*\).*/\1/p')

unknown() {
  echo "this toolkit's object layout is unknown (nvcc ${version:-?}): $1." \
    "tests/sim/sim_fatbin.c must learn it; -DVMA_TESTS=OFF builds without the simulated device." >&2
  exit 1
}

object=${VMA_LAYOUT_OBJECT:-$folder/layout_probe.o}
if [ -z "${VMA_LAYOUT_OBJECT:-}" ]; then
  "$nvcc" "$@" -c layout_probe.cu -o "$object" >"$folder/nvcc.log" 2>&1 ||
    unknown "it cannot compile layout_probe.cu: $(grep -m1 error "$folder/nvcc.log" || tail -1 "$folder/nvcc.log")"
fi
if ! "$cc" -std=gnu11 -D_GNU_SOURCE -O1 -o "$folder/layout_check" layout_check.c sim_fatbin.c sim_fatbin_cubin.c \
  "$object" -lstdc++ >"$folder/link.log" 2>&1; then
  unknown "its host code calls $(sed -n "s/.*undefined reference to [^A-Za-z_]*\([A-Za-z_0-9]*\).*/\1/p" \
    "$folder/link.log" | sort -u | tr '\n' ' ')which tests/sim does not stand in for"
fi
archs=$(printf '%s\n' "$@" | sed -n 's/^arch=compute_\([0-9]*\),.*/\1/p')
# shellcheck disable=SC2086 # numbers
said=$("$folder/layout_check" $archs) || unknown "$said"
