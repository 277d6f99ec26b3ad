#!/usr/bin/env bash
# labels: quick
# What the programs say of devices, from outside: env, and one message each for no module, one that is none, a library
# that is missing, no driver. With the CUDA module built, but no driver, the real libraries are asked.
set -uo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/e2e/train_lib.sh
infer=$VMA_BIN/vma-infer
module=$VMA_BIN/libvma_cuda.so
unset VMA_CUDA_MODULE

tiny_model tiny mha
counting_data
tiny_run

# says PART...: each is in $work/out
says() {
  for part in "$@"; do
    grep -qF -- "$part" "$work/out" || fail "no '$part' in: $(cat "$work/out")"
  done
}

# ---- env ----

for program in "$train" "$infer"; do
  accept "$program" env
  says "$(basename "$program") " 'CPU   ' '  cores       ' '  oneDNN      ' 'CUDA' '  module  ' '  driver  '
  refuse 2 'env: takes nothing behind it' "$program" env more
done
VMA_CUDA_MODULE=$work/none.so accept "$train" env
says "module      none" "cannot be used: there is no CUDA module at $work/none.so"

# ---- names ----

refuse 2 "train.device: expected auto, cpu, cuda or cuda:N, found 'gpu'" "$train" --config "$work/run.yaml" train.device=gpu
refuse 2 "train.device: expected auto, cpu, cuda or cuda:N, found 'cuda:-1'" \
  "$train" --config "$work/run.yaml" train.device=cuda:-1
refuse 2 "train.device: expected auto" "$train" --config "$work/run.yaml" train.device=cuda:x --dry-run
refuse_output=
refuse 2 "--device: expected auto, cpu, cuda or cuda:N" "$infer" --model "$work/tiny" --prompt x --device tpu
refuse_output=any

# ---- modules that are none ----

export VMA_CUDA_MODULE=$work/none.so
refuse 1 "train.device=cuda: there is no CUDA module at $work/none.so" \
  "$train" --config "$work/run.yaml" train.device=cuda
refuse 1 "--device cuda: there is no CUDA module at $work/none.so" \
  "$infer" --model "$work/tiny" --prompt x --device cuda
echo nothing >"$work/bad.so"
VMA_CUDA_MODULE=$work/bad.so refuse 1 "$work/bad.so cannot be loaded" \
  "$train" --config "$work/run.yaml" train.device=cuda
# auto goes on, and says on what and why
accept "$train" --config "$work/run.yaml" output.dir="$work/auto"
says "# device: this machine's CPU (train.device=auto: there is no CUDA module at"
grep -q 'device: "cpu"' "$work/auto/config.yaml" || fail "config.yaml leaves the device open"
accept "$train" --config "$work/run.yaml" output.dir="$work/cpu" train.device=cpu
same_run "$work/auto" "$work/cpu"
accept "$train" --config "$work/run.yaml" output.dir="$work/auto" resume=auto
unset VMA_CUDA_MODULE

# ---- the module that was built here ----

if [ ! -e "$module" ]; then
  echo "SKIP: no CUDA toolkit: the module was not built"
  [ $failed = 0 ] || exit $failed
  exit 77
fi
# A copy that asks for a library which nobody has.
sed 's/libcublasLt\.so\./libcublasXX.so./g' "$module" >"$work/other.so"
if cmp -s "$module" "$work/other.so"; then fail "the module does not need libcublasLt"; fi
VMA_CUDA_MODULE=$work/other.so refuse 1 "needs libcublasXX.so." \
  "$train" --config "$work/run.yaml" output.dir="$work/refused" train.device=cuda
grep -qF 'which was not found: load the CUDA toolkit of this build (module load cuda, or LD_LIBRARY_PATH), or run on' \
  "$work/err" || fail "it is not said what to do: $(cat "$work/err")"
VMA_CUDA_MODULE=$work/other.so accept "$infer" env
says "module      $work/other.so" "cannot be used: $work/other.so needs libcublasXX.so."
if [ ! -e /dev/nvidiactl ]; then
  accept "$train" env
  says "module      $module" '  toolkit     CUDA 1' '  driver      none' '  cuBLASLt    1' \
    'cannot be used: there is no NVIDIA driver (error 35)'
  none='there is no NVIDIA driver (error 35), this build needs one for CUDA 1'
  refuse 1 "train.device=cuda: $none" "$train" --config "$work/run.yaml" output.dir="$work/refused" train.device=cuda
  refuse 1 "--device cuda:3: $none" "$infer" --model "$work/tiny" --prompt x --device cuda:3
fi

# ---- what a driver and devices may be like, by the simulated runtime ----

# cannot HOW MESSAGE REMEDY ENV: with the simulated machine failing so. Both programs refuse with what was found, what is
# expected and what to do, and write nothing; with "auto" training goes on, on the CPU, and says why.
cannot() {
  export VMA_CUDA_MODULE=$VMA_BUILD/tests/libvma_cuda_sim.so VMA_SIM_FAIL=$1
  refuse 1 "--device cuda: $2" "$infer" --model "$work/tiny" --prompt x --device cuda
  grep -qF -- "$3" "$work/err" || fail "$1: no '$3' in: $(cat "$work/err")"
  [ ! -s "$work/out" ] || fail "$1: output: $(head -3 "$work/out")"
  refuse 1 "train.device=cuda: $2" "$train" --config "$work/run.yaml" output.dir="$work/refused" train.device=cuda
  grep -qF -- "$3" "$work/err" || fail "$1: no '$3' in: $(cat "$work/err")"
  refuse 1 "$2" "$train" --config "$work/run.yaml" output.dir="$work/refused" train.device=cuda --dry-run
  accept "$train" --config "$work/run.yaml" output.dir="$work/refused" --dry-run
  accept "$train" --config "$work/run.yaml" output.dir="$work/auto-$1" train.epochs=1
  says "# device: this machine's CPU (train.device=auto: $2"
  accept "$infer" env
  says "cannot be used: $4"
  unset VMA_CUDA_MODULE VMA_SIM_FAIL
}
toolkit=$("$train" env | sed -n 's/^  toolkit     CUDA //p')
major=${toolkit%%.*}
cannot driver "there is no NVIDIA driver (error 35), this build needs one for CUDA $major.0 or newer" \
  ': install it, go to a node that has a GPU, or run on the CPU' 'there is no NVIDIA driver (error 35)'
cannot old "the NVIDIA driver is for CUDA $((major - 1)).8, this build needs one for $major.0 or newer (error 35)" \
  ', or run on the CPU' "the NVIDIA driver is for CUDA $((major - 1)).8"
if [ "$major" -gt 12 ]; then
  remedy=': update the driver, build with a toolkit of CUDA 12 (12.4 at least), or run on the CPU'
  grep -qF -- "$remedy" "$work/out" || fail "old: no '$remedy' in: $(cat "$work/out")"
fi
# A driver of the toolkit's major release will do, whichever is newer...
VMA_CUDA_MODULE=$VMA_BUILD/tests/libvma_cuda_sim.so VMA_SIM_FAIL=minor accept "$infer" env
says "  toolkit     CUDA $major.$((${toolkit#*.} + 2))" "  driver      CUDA $toolkit" '  can be used'
VMA_CUDA_MODULE=$VMA_BUILD/tests/libvma_cuda_sim.so VMA_SIM_FAIL=minor \
  accept "$infer" --model "$work/tiny" --prompt x --max-new-tokens 2 --device cuda
# ... unless the GPU is newer than the machine code in the module.
cannot ptx "GPU 0, simulated a100, has compute capability 8.0; this build has no machine code for it, and no PTX that the driver \
can translate (error 222; toolkit $major.$((${toolkit#*.} + 2)), driver for $toolkit)" \
  ': update the driver, add 80 to VMA_CUDA_ARCHS when building, take another GPU (cuda:N), or run on the CPU' \
  'the driver finds no code for the GPU in this build'
cannot none 'the driver sees no GPU (error 100)' 'or run on the CPU' 'the driver sees no GPU'
cannot cc "GPU 0, simulated a100, has compute capability 7.5; vma's kernels need 8.0 (A100, RTX 30) or newer" \
  ': take another GPU (cuda:N), or run on the CPU' 'no GPU that the driver sees is of use'
cannot exclusive 'GPU 0, simulated a100, is busy: it is in exclusive mode and another process holds it' \
  ': wait for that one, take another GPU (cuda:N), or run on the CPU' 'no GPU that the driver sees is of use'
cannot prohibited 'GPU 0, simulated a100, is set to let no process compute' ': have it shared (nvidia-smi -c 0)' \
  'no GPU that the driver sees is of use'
VMA_CUDA_MODULE=$VMA_BUILD/tests/libvma_cuda_sim.so VMA_SIM_DEVICE=3090 accept "$infer" env
says 'simulated 3090, compute capability 8.6, 82 multiprocessors, 24.00 of 24.00 GiB free, shared' 'can be used'
VMA_CUDA_MODULE=$VMA_BUILD/tests/libvma_cuda_sim.so \
  refuse 2 '--device cuda:1: there is no GPU 1: the driver sees 1' "$infer" --model "$work/tiny" --prompt x --device cuda:1
[ ! -e "$work/refused" ] || fail "what was refused has written: $(ls -R "$work/refused")"
exit $failed
