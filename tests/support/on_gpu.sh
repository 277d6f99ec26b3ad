#!/usr/bin/env bash
# on_gpu.sh PROGRAM [ARGUMENTS]: runs a test on the GPU of this machine, with the module that was built for it, or skips it
# (77) with the reason. VMA_GPU_MODULE takes another module; the simulated one makes a rehearsal of it.
module=${VMA_GPU_MODULE:-$VMA_BUILD/bin/libvma_cuda.so}
if [ ! -e "$module" ]; then
  echo "SKIP: no CUDA toolkit: the module was not built"
  exit 77
fi
export VMA_CUDA_MODULE=$module VMA_SIM_MODULE=$module VMA_PARITY=cuda
why=$("$VMA_BIN/vma-train" env | sed -n 's/^  cannot be used: //p')
if [ -n "$why" ]; then
  echo "SKIP: no GPU: $why"
  exit 77
fi
exec "$@"
