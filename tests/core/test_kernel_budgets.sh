#!/usr/bin/env bash
# labels: quick
# No kernel spills, and each stays within the registers and shared memory of the budget in its source; what is over,
# without a budget or spills is found.
set -uo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
fail() {
  echo "FAILED: $*"
  failed=1
}

# ---- planted kernels ----

mkdir -p "$work/kernels/cuda" "$work/build/kernels/cuda_objects"
cat >"$work/build/kernels/cuda_objects/cuda_made.ptxas" <<'END'
ptxas info    : Compiling entry function '_Z11near_kernelIfEvPT_4RowsIS0_El' for 'sm_80'
ptxas info    : Function properties for _Z11near_kernelIfEvPT_4RowsIS0_El
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 31 registers, used 1 barriers, 128 bytes smem, 384 bytes cmem[0]
ptxas info    : Compiling entry function '_Z11near_kernelIfEvPT_4RowsIS0_El' for 'sm_90'
ptxas info    : Function properties for _Z11near_kernelIfEvPT_4RowsIS0_El
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 128 bytes smem, 384 bytes cmem[0]
END
source=$work/kernels/cuda/cuda_made.cu
budgets() {
  VMA_BUDGET_ROOT=$work tools/kernel_budgets.sh "$@" >"$work/out" 2>&1
}
# expect STATUS TEXT: of the last run
expect() {
  local status=$1
  shift
  if [ "$status" != "$1" ]; then fail "status $status: $(cat "$work/out")"; fi
  if ! grep -qF -- "$2" "$work/out"; then fail "no '$2' in: $(cat "$work/out")"; fi
}

kernel='template <typename T>
__global__ void near_kernel(T *y, Rows<T> x, long n) {
}'
printf '%s\n' "$kernel" >"$source"
budgets build
expect $? 1 'cuda_made.cu:1: budget: near_kernel has none; it takes registers=40 shared=128'
printf '// budget: near_kernel registers=39 shared=128\n%s\n' "$kernel" >"$source"
budgets build
expect $? 1 'cuda_made.cu:1: budget: near_kernel takes registers=40 shared=128'
printf '// budget: near_kernel registers=40 shared=64\n%s\n' "$kernel" >"$source"
budgets build
expect $? 1 'cuda_made.cu:1: budget: near_kernel takes registers=40 shared=128'
budgets --fix build
expect $? 0 'kernel_budgets: 1 kernels'
if [ "$(head -1 "$source")" != '// budget: near_kernel registers=40 shared=128' ]; then fail "--fix: $(cat "$source")"; fi
sed -i '7s/0 bytes spill stores/8 bytes spill stores/' "$work/build/kernels/cuda_objects/cuda_made.ptxas"
budgets build
expect $? 1 'near_kernel spills 8 bytes on sm_90'
rm "$work"/build/kernels/cuda_objects/*
budgets build
expect $? 1 'no report of ptxas'

# ---- ours ----

if [ ! -e "$VMA_BIN/libvma_cuda.so" ]; then
  [ $failed = 0 ] || exit $failed
  echo "SKIP: no CUDA toolkit: there are no kernels to look at"
  exit 77
fi
tools/kernel_budgets.sh "$VMA_BUILD" || failed=1
exit $failed
