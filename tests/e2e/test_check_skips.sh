#!/usr/bin/env bash
# What tools/check.sh makes of skipped tests: one for want of CUDA is an error where the CUDA backend was built, any other
# that it does not know is one everywhere, and it says how many ran. cmake and ctest are stand-ins here.
set -uo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/support/cli.sh
mkdir -p "$work/tree/tools" "$work/bin"
cp tools/check.sh tools/setup.sh "$work/tree/tools"
touch "$work/model"
export VMA_MODEL=$work/model VMA_TEST_DATA=$work

# One test that ran, and one that was skipped with $SKIP_REASON, in the words of ctest.
cat >"$work/bin/ctest" <<'END'
#!/usr/bin/env bash
while [ $# -gt 0 ]; do
  if [ "$1" = --output-junit ]; then report=$2; fi
  shift
done
cat >"$report" <<XML
<testsuite>
  <testcase name="core/one" classname="core/one" time="0.1" status="run">
    <system-out>ok</system-out>
  </testcase>
  <testcase name="sim/two" classname="sim/two" time="0.1" status="notrun">
    <skipped message="SKIP_RETURN_CODE=77"/>
    <system-out>SKIP: $SKIP_REASON
</system-out>
  </testcase>
</testsuite>
XML
echo '100% tests passed, 0 tests failed out of 2'
END
cat >"$work/bin/cmake" <<'END'
#!/usr/bin/env bash
mkdir -p build/bin build/tests
if [ "$BUILT" = yes ]; then touch build/bin/libvma_cuda.so build/tests/libvma_cuda_sim.so; fi
END
printf '#!/bin/sh\n' >"$work/bin/nvcc" # is found, builds nothing
for package in ccache shellcheck clang-format-14 ninja pkg-config; do printf '#!/bin/sh\n' >"$work/bin/$package"; done
chmod +x "$work/bin"/*

# check STATUS PART BUILT REASON: its exit status, and what it says
check() {
  local status=0
  rm -rf "$work/tree/build"
  (cd "$work/tree" && BUILT=$3 SKIP_REASON=$4 PATH=$work/bin:$PATH tools/check.sh --no-sanitize) >"$work/out" 2>&1 || status=$?
  [ $status = "$1" ] || fail "$4: status $status, not $1: $(tail -20 "$work/out")"
  grep -qF -- "$2" "$work/out" || fail "$4: no '$2' in: $(tail -20 "$work/out")"
}
check 1 'SKIPPED, BUT MUST NOT BE: sim/two: no CUDA toolkit: there is no simulated device' yes \
  'no CUDA toolkit: there is no simulated device'
grep -qF 'release: 1 of 2 tests run, 1 skipped' "$work/out" || fail "no count: $(cat "$work/out")"
check 1 'SKIPPED, BUT MUST NOT BE: sim/two: no GPU' yes 'no GPU'
check 1 'SKIPPED, BUT MUST NOT BE: sim/two: feeling unwell' yes 'feeling unwell'
check 1 'SKIPPED, BUT MUST NOT BE: sim/two: no small model' yes 'no small model'
check 1 'SKIPPED, BUT MUST NOT BE: sim/two: no shared/data' yes 'no shared/data'
check 0 'skipped: sim/two: no instruction set avx9' yes 'no instruction set avx9'
grep -qF 'All checks passed.' "$work/out" || fail "not all passed: $(cat "$work/out")"
check 1 'nvcc is here, but the CUDA backend was not built' no 'no CUDA toolkit'
exit $failed
