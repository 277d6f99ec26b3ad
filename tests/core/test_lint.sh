#!/usr/bin/env bash
# labels: quick
# The tree passes tools/lint.sh, and tools/lint.sh finds each kind of fault that is planted in a small tree.
# shellcheck disable=SC2016 # the planted texts are not ours to expand
set -euo pipefail

failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# plant RULE PATH CONTENT: the tree with that file in it must fail with that rule, named at that file.
plant() {
  local rule=$1 path=$2 out status=0
  rm -rf "$work/tree"
  mkdir -p "$work/tree/kernels/cpu" "$work/tree/$(dirname "$path")"
  cp .clang-format "$work/tree"
  printf '// Adds.\nint add_pair(int a, int b);\n' >"$work/tree/kernels/cpu/cpu_add.h"
  printf '%b' "$3" >"$work/tree/$path"
  git -C "$work/tree" init -q
  git -C "$work/tree" add -A
  out=$(VMA_LINT_ROOT=$work/tree tools/lint.sh) || status=$?
  if [ "$rule" = none ]; then
    if [ $status = 0 ] && [[ $out == *" 0 errors, 0 warnings"* ]]; then return; fi
    if [ $status = 77 ]; then return; fi
  elif [ "$rule" = warning ]; then
    if [ $status != 1 ] && [[ $out == *"$path:"*": warning: "* ]]; then return; fi
  elif [ $status = 1 ] && [[ $out == *"$path:"*": $rule: "* ]]; then
    return
  fi
  echo "FAILED: planted '$rule' in $path; status $status, output:"
  echo "$out"
  failed=1
}

repeated() { # repeated N LINE: that line N times
  local i
  for ((i = 0; i < $1; i++)); do printf '%s\\n' "$2"; done
}

plant none nn/fine.c '#include "ops.h"\n\n// strcpy(a, b) in a comment, and\n/* sprintf(a)\n   in a longer one */\nstatic const char *text = "system(1)";\n'
for name in strcpy strcat sprintf vsprintf gets strtok atoi atol atof system popen alloca assert; do
  plant banned nn/bad.c "void f(char *a) {\n  $name(a);\n}\n"
done
plant banned nn/bad.c 'const char *built = __DATE__;\n'
plant none tests/core/test_fine.c 'void f(int a) {\n  assert(a);\n}\n'
plant include nn/bad.c '#include "cpu_add.h"\n'
plant include kernels/core/bad.c '#include "../cpu/cpu_add.h"\n'
plant include nn/bad.c '#include <yaml.h>\n'
plant include nn/bad.c '#include <cuda_runtime_api.h>\n'
plant include kernels/bad.c '#include <cublasLt.h>\n'
plant none kernels/cuda/cuda_fine.cu '#include <cublasLt.h>\n#include <cuda_bf16.h>\n'
plant banned kernels/cuda/cuda_bad.cu 'void f(char *a) {\n  strcpy(a, a);\n}\n'
says='// A thread owns an element. No shared memory.\n// flops: one; bytes: both.\n'
plant none kernels/cuda/cuda_fine.cu "${says}static __global__ void k(void) {\n}\n"
plant kernel kernels/cuda/cuda_bad.cu "// A thread owns an element; bytes: both.\nstatic __global__ void k(void) {\n}\n"
plant kernel kernels/cuda/cuda_bad.cu "int a;\n${says}static __global__ void k(void) {\n}\n"
plant ptx kernels/cuda/cuda_bad.cuh '// Adds.\nstatic void k(void) {\n  asm volatile("");\n}\n'
plant none kernels/cuda/cuda_ptx.cuh '// PTX.\nstatic void k(void) {\n  asm volatile("");\n}\n'
plant none kernels/cpu/cpu_fine.c '#include "cpu_add.h"\n#include <omp.h>\n'
plant length nn/bad.c "$(repeated 701 'extern int a;')"
plant length tools/bad.sh "$(repeated 701 'true')"
plant warning nn/slow.c "int f(int a) {\n$(repeated 99 '  a++;')  return a;\n}\n"
plant none nn/fine.c "int f(int a) {\n$(repeated 97 '  a++;')  return a;\n}\n"
plant name nn/Bad.c 'extern int a;\n'
plant name nn/cpu_add.h '// Adds again.\n'
plant space nn/bad.txt 'a\tb\n'
plant space nn/bad.txt 'a \n'
plant space nn/bad.txt 'a'
plant path nn/bad.txt 'see /wor''k/main\n'
plant path nn/bad.txt 'HOME=/roo''t\n'
plant path nn/bad.txt '"/tmp/bash_''jobs.0/1"\n'
plant none nn/fine.txt 'build/work/x and ${base}/home/x\n'
plant header nn/bad.h 'int a;\n'
if command -v shellcheck >/dev/null; then plant shell tools/bad.sh '#!/bin/sh\necho $1\n'; fi
if command -v clang-format-14 >/dev/null; then plant format nn/bad.c 'int  a;\n'; fi

status=0
tools/lint.sh || status=$?
if [ $status != 0 ] && [ $status != 77 ]; then exit 1; fi
if [ $failed != 0 ]; then exit 1; fi
exit $status
