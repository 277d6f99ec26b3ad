#!/usr/bin/env bash
# What tools/setup.sh decides for tools/quickstart.sh: whether the part for GPUs is built too, by whether this machine has
# a driver (here a folder in place of /dev) and nvcc, and by VMA_GPU.
set -uo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/support/cli.sh
unset VMA_GPU

mkdir "$work/none" "$work/gpu" "$work/wsl" "$work/mps" "$work/with" "$work/without"
touch "$work/gpu/nvidia0" "$work/wsl/dxg" "$work/mps/nvidiactl"
printf 'build vma-train: phony bin/vma-train\nbuild vma_cuda: phony bin/libvma_cuda.so\n' >"$work/with/build.ninja"
printf 'build vma-train: phony bin/vma-train\nbuild vma_cuda_host: phony x\n' >"$work/without/build.ninja"

cat >"$work/decide" <<'END'
set -euo pipefail
. tools/setup.sh
if setup_wants_module "$1" "$2"; then echo yes; else echo no; fi
END
decide=(bash "$work/decide") # BUILD DEV: "yes" or "no" behind what it says

# expect ANSWER PART BUILD DEV: decides so and says PART, in one line
expect() {
  accept "${decide[@]}" "$work/$3" "$work/$4"
  [ "$(tail -n 1 "$work/out")" = "$1" ] || fail "$3, $4, VMA_GPU=${VMA_GPU:-}: $(cat "$work/out")"
  [ "$(wc -l <"$work/out")" = 2 ] || fail "$3, $4: more than a line: $(cat "$work/out")"
  grep -qF -- "$2" "$work/out" || fail "no '$2' in: $(cat "$work/out")"
}

for dev in gpu wsl mps; do
  expect yes "driver and nvcc are here: the GPU's part is built too" with $dev
  expect no 'no CUDA toolkit of 12.4 or newer (nvcc in PATH): built for the CPU only' without $dev
done
expect no "nvcc is here, but no GPU's driver: built for the CPU only (VMA_GPU=yes" with none
expect no "No GPU's driver and no nvcc here: built for the CPU only" without none
VMA_GPU=yes expect yes "VMA_GPU=yes: the GPU's part is built too" with none
VMA_GPU=no expect no 'VMA_GPU=no: built for the CPU only' with gpu
VMA_GPU=no expect no 'VMA_GPU=no: built for the CPU only' without gpu
VMA_GPU=yes refuse 1 'VMA_GPU=yes, but there is no CUDA toolkit' "${decide[@]}" "$work/without" "$work/gpu"
VMA_GPU=maybe refuse 1 'VMA_GPU is "maybe": give yes or no' "${decide[@]}" "$work/with" "$work/gpu"

# A build folder as cmake makes it: the module is a target exactly where it was built.
built=no
if [ -e "$VMA_BIN/libvma_cuda.so" ]; then built=yes; fi
accept "${decide[@]}" "$VMA_BUILD" "$work/gpu"
[ "$(tail -n 1 "$work/out")" = $built ] || fail "$VMA_BUILD: the module is there: $built; but: $(cat "$work/out")"
exit $failed
