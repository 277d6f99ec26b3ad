#!/usr/bin/env bash
# An nvcc made of clang and the parts of an older CUDA toolkit that PyPI has (its headers, ptxas and libdevice, no
# compiler): takes the options that tools/cuda.cmake and tests/sim give. tools/cuda_12.sh sets it up.
#
#   VMA_CUDA_TOOLKIT   the toolkit: bin/ptxas, bin/fatbinary, include, lib, nvvm/libdevice
#   VMA_CLANG          clang 19, which knows CUDA 12.4
set -euo pipefail
root=$VMA_CUDA_TOOLKIT

case ${1:-} in
  --version)
    "$root/bin/ptxas" --version
    exit
    ;;
  -v) # CMake asks for the folder
    echo "#\$ TOP=$root"
    exit
    ;;
esac

# -gline-tables-only with optimization gives the device what nvcc's -lineinfo gives. Host code fuses no multiply-add, device
# code does.
arguments=(--cuda-path="$root" --cuda-include-ptx=all -gline-tables-only -Xarch_device -ffp-contract=fast
  -Wno-unknown-cuda-version)
while [ $# -gt 0 ]; do
  case $1 in
    -lineinfo | --no-compress | --fmad=true) ;;
    -Werror)
      arguments+=(-Werror)
      shift
      ;;
    -Xptxas)
      arguments+=(-Xcuda-ptxas "$2")
      shift
      ;;
    -gencode)
      sm=${2##*code=[}
      arguments+=("--cuda-gpu-arch=${sm%%,*}")
      shift
      ;;
    -Xcompiler)
      IFS=, read -ra host <<<"$2"
      for option in "${host[@]}"; do
        case $option in
          -ffp-contract=*) arguments+=(-Xarch_host "$option") ;;
          *) arguments+=("$option") ;;
        esac
      done
      shift
      ;;
    *) arguments+=("$1") ;;
  esac
  shift
done
exec "$VMA_CLANG" "${arguments[@]}"
