#!/usr/bin/env bash
# labels: quick
# The CUDA module as it lies on disk: libcudart is in it, of the toolkit it needs cuBLASLt alone, the driver's library is
# opened when there is one; it exports nothing but its door.
set -uo pipefail

module=$VMA_BIN/libvma_cuda.so
failed=0
fail() {
  echo "FAILED: $*"
  failed=1
}
if [ ! -e "$module" ]; then
  echo "SKIP: no CUDA toolkit: the module was not built"
  exit 77
fi
needed=$(objdump -p "$module" | sed -n 's/^ *NEEDED *//p')
of_cuda=$(grep -E '^lib(cu|nv)' <<<"$needed")
[[ $of_cuda =~ ^libcublasLt\.so\.[0-9]+$ ]] || fail "of CUDA it needs: ${of_cuda:-nothing}, expected cuBLASLt alone"
exported=$(nm -D --defined-only "$module" | sed 's/.* //')
[ "$exported" = vma_cuda_module ] || fail "it exports: $exported"
exit $failed
