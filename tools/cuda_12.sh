#!/usr/bin/env bash
# Builds the CUDA backend and the simulated device against CUDA 12.4, the oldest that vma supports, on a machine that has
# another toolkit, and runs the tests of the simulated device on that build.
#
# PyPI has of 12.4 the headers, ptxas, libdevice, libcudart and libcublasLt, but no nvcc: clang 19 compiles in its place
# (tools/clang_nvcc.sh). So this shows that every source file is right with 12.4's headers and every kernel with its
# ptxas; that host stubs which call cudaLaunchKernel, as those of 12.4 do, run on the simulated device; and that the module
# links with 12.4's libraries and says what it must without a driver. It does not show what nvcc 12.4 itself would say.
#
#   tools/cuda_12.sh [CTEST_REGEX]     default: what runs on the simulated devices but programs; messages of e2e/devices
#
# Everything is written to build/cuda_12; 390 MB are fetched, once. Takes some twenty minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/setup.sh
. tools/setup.sh

# Not sim/sim_layout, which is about nvcc's own options.
tests=${1:-'^(sim_(a100|3090|h100)/|sim/sim_(trainer|two_streams|runtime|cublaslt|calls|graph|backend_graph|planted)$|e2e/devices$)'}
out=$PWD/build/cuda_12
toolkit=$out/toolkit
wheels=(nvidia-cuda-nvcc-cu12==12.4.131 nvidia-cuda-runtime-cu12==12.4.127 nvidia-cublas-cu12==12.4.5.8
  nvidia-cuda-cccl-cu12==12.4.127)

setup_step "Packages"
mapfile -t packages < <(
  setup_missing_build
  setup_missing_fetch
  setup_has clang-19 || echo clang-19
)
setup_install "${packages[@]}"
nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
fatbinary=$(dirname "$(readlink -f "$nvcc")")/fatbinary
# An nvcc in PATH may be a script that calls the one which has it.
if [ ! -x "$fatbinary" ]; then fatbinary=/usr/local/cuda/bin/fatbinary; fi
if [ ! -x "$fatbinary" ]; then setup_fail "no fatbinary beside $nvcc: it packs what ptxas makes; any CUDA toolkit has it"; fi

setup_step "CUDA 12.4 from PyPI"
if [ ! -e "$toolkit/complete" ]; then
  rm -rf "$out/wheels" "$toolkit"
  mkdir -p "$out/wheels" "$toolkit/bin" "$toolkit/include" "$toolkit/lib" "$toolkit/nvvm"
  if ! python3 -m pip download --quiet --no-deps --only-binary=:all: --no-cache-dir --disable-pip-version-check \
    --dest "$out/wheels" "${wheels[@]}" >"$out/download.log" 2>&1; then
    tail -n 3 "$out/download.log" >&2
    setup_fail "PyPI does not give ${wheels[*]}"
  fi
  for wheel in "$out"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$out/wheels"; done
  parts=$out/wheels/nvidia
  for part in cuda_runtime cuda_nvcc cublas cuda_cccl; do cp -r "$parts/$part/include/." "$toolkit/include"; done
  install "$parts/cuda_nvcc/bin/ptxas" "$toolkit/bin"
  cp -r "$parts/cuda_nvcc/nvvm/libdevice" "$toolkit/nvvm"
  mv "$parts/cublas/lib/libcublasLt.so.12" "$parts/cuda_runtime/lib/libcudart.so.12" "$toolkit/lib"
  ln -s libcublasLt.so.12 "$toolkit/lib/libcublasLt.so"
  ln -s libcudart.so.12 "$toolkit/lib/libcudart.so"
  # There is no static one on PyPI: what asks for it gets the other.
  echo "INPUT($toolkit/lib/libcudart.so.12)" >"$toolkit/lib/libcudart_static.a"
  rm -rf "$out/wheels"
  touch "$toolkit/complete"
fi
# What clang calls with the options of 12.4's, done by this machine's.
cat >"$toolkit/bin/fatbinary" <<END
#!/usr/bin/env bash
for argument; do
  shift
  case \$argument in
    --image=profile=sm_*) argument=\${argument#--image=profile=sm_}; argument=--image3=kind=elf,sm=\$argument ;;
    --image=profile=compute_*) argument=\${argument#--image=profile=compute_}; argument=--image3=kind=ptx,sm=\$argument ;;
  esac
  set -- "\$@" "\$argument"
done
exec $fatbinary --compress=false "\$@"
END
cat >"$toolkit/bin/nvcc" <<END
#!/usr/bin/env bash
export VMA_CUDA_TOOLKIT=$toolkit VMA_CLANG=\${VMA_CLANG:-clang-19}
exec $PWD/tools/clang_nvcc.sh "\$@"
END
chmod +x "$toolkit/bin/fatbinary" "$toolkit/bin/nvcc"
grep -m 1 'define CUDART_VERSION' "$toolkit/include/cuda_runtime_api.h"

setup_step "Build"
cmake -S . -B "$out/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCUDAToolkit_ROOT="$toolkit" \
  -DCUDAToolkit_NVCC_EXECUTABLE="$toolkit/bin/nvcc" -DVMA_WITH_CUDA=ON -DVMA_WITH_NCCL=OFF >"$out/configure.log" 2>&1 ||
  { tail -n 30 "$out/configure.log" >&2 && setup_fail "the configure step failed"; }
sed -n '/what was found/,/^-- /{/^  CUDA/p}' "$out/configure.log"
cmake --build "$out/build" >"$out/build.log" 2>&1 ||
  { grep -E -A 12 'FAILED|error|warning' "$out/build.log" | head -n 60 >&2 && setup_fail "the build failed ($out/build.log)"; }
tail -n 1 "$out/build.log"

setup_step "The module with 12.4's libraries"
LD_LIBRARY_PATH=$toolkit/lib "$out/build/bin/vma-train" env

setup_step "Tests"
ctest --test-dir "$out/build" -R "$tests" -LE nightly -j "$(nproc)" --no-tests=error --output-on-failure
