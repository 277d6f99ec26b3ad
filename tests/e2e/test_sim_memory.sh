#!/usr/bin/env bash
# labels: sim
# Memory of the simulated device: what does not fit is refused with its numbers and writes nothing; the plan tells the
# context from what other programs hold, by NVML, and says where it cannot.
set -uo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/e2e/train_lib.sh
infer=$VMA_BIN/vma-infer
on_device "$VMA_BUILD/tests/libvma_cuda_sim.so"

tiny_model tiny mha
counting_data
tiny_run

# ---- too little of it ----

VMA_SIM_MEMORY=50000000 refuse 71 'GiB of simulated a100, which has 0.05' \
  "$train" --config "$work/run.yaml" output.dir="$work/large" data.cutoff_len=2000 train.micro_tokens=200000
VMA_SIM_MEMORY=42000000 refuse 71 'GiB of simulated a100' "$infer" --model "$work/tiny" --prompt x --max-new-tokens 120 --device cuda

# Kernels are loaded where they are first launched: some room is left for them, and what fits with it runs.
accept "$train" --config "$work/run.yaml" output.dir="$work/edge" --dry-run
sed 's/  */ /g' "$work/out" | grep -qF ' code 64.0 MiB ' || fail "no room for code: $(grep -A 14 '^memory' "$work/out")"
total=$(sed -n 's/^  total  *\([0-9]*\)\..*/\1/p' "$work/out")
VMA_SIM_MEMORY=$(((total - 4) << 20)) refuse 71 'GiB of simulated a100' "$train" --config "$work/run.yaml" output.dir="$work/edge"
VMA_SIM_MEMORY=$(((total + 1) << 20)) accept "$train" --config "$work/run.yaml" output.dir="$work/edge" train.epochs=1 output.samples=0
VMA_SIM_MEMORY=90000000 refuse 71 'GiB of simulated a100' "$infer" --model "$work/tiny" --prompt x --max-new-tokens 12 --device cuda

# Before anything is loaded: a model that lacks a tensor is refused for its size, and for the tensor where there is memory.
cp -r "$work/tiny" "$work/lacks"
sed -i 's/model\.norm\.weight/model.norm.weighs/' "$work/lacks/model.safetensors"
lacks() { # lacks STATUS PART: of both programs
  refuse "$1" "$2" "$train" --config "$work/run.yaml" model.path="$work/lacks" output.dir="$work/large" data.cutoff_len=2000 \
    train.micro_tokens=200000
  refuse "$1" "$2" "$infer" --model "$work/lacks" --prompt x --max-new-tokens 120 --device cuda
}
VMA_SIM_MEMORY=42000000 lacks 71 'GiB of simulated a100'
lacks 65 'no tensor model.norm.weight'

# ---- some of it is not ours ----

# plan WORDS...: of a dry run, where another program holds 10 GiB of 40 and a context takes 500 MiB
export VMA_SIM_OTHERS=$((10 << 30)) VMA_SIM_CONTEXT=$((500 << 20))
plan() {
  accept "$train" --config "$work/run.yaml" output.dir="$work/shared" --dry-run
  for words in "$@"; do
    sed 's/  */ /g' "$work/out" | grep -qF -- "$words" || fail "no '$words' in: $(grep -A 14 '^memory' "$work/out")"
  done
}
# Without the driver's library the two cannot be told apart, and it is said.
plan ' context 10740.0 MiB ' "context, libraries' code and all that other programs hold: measured at start"
if grep -q '^  others' "$work/out"; then fail "others' memory is known without NVML"; fi
# With it: in use by all before our context, and after it with the 40 MiB that have a line of their own.
export LD_LIBRARY_PATH=$VMA_BUILD/tests/nvml VMA_NVML_ALL=$((40 << 30)) VMA_NVML_BEFORE=$((10 << 30)) \
  VMA_NVML_AFTER=$(((10 << 30) + (540 << 20)))
plan ' context 500.0 MiB ' "the device's context and the libraries' code: measured at start" \
  ' others 10240.0 MiB ' 'what other programs hold: measured at start'
# It speaks of a GPU of which we have a part, or is of no use.
VMA_NVML_ALL=$((80 << 30)) plan ' context 10740.0 MiB ' 'all that other programs hold'
VMA_NVML_AFTER=0 plan ' context 10740.0 MiB ' 'all that other programs hold'
# What fits 40 GiB does not fit what is free of them.
VMA_SIM_OTHERS=$(((40 << 30) - (544 << 20))) VMA_NVML_BEFORE=$(((40 << 30) - (544 << 20))) \
  VMA_NVML_AFTER=$(((40 << 30) - (4 << 20))) refuse 71 'which has 40.00, 39.96 of them in use already' \
  "$train" --config "$work/run.yaml" output.dir="$work/shared"
accept "$infer" env
grep -qF '29.51 of 40.00 GiB free' "$work/out" || fail "free memory: $(grep cuda: "$work/out")"
[ -z "$(ls -d "$work"/{shared,large} 2>/dev/null)" ] || fail "what was refused has written"
exit $failed
