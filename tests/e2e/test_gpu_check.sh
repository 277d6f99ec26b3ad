#!/usr/bin/env bash
# labels: sim
# tools/gpu_check.sh: without a GPU it says so, builds nothing and ends with 2; rehearsed on the simulated device, it runs
# the tests labelled "gpu" and compute-sanitizer (a stand-in of it) and writes a report; what fails is in it, and in the
# exit status.
set -uo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/support/cli.sh
check=tools/gpu_check.sh

refuse 2 'unknown option --fast' $check --fast
if [ ! -e /dev/nvidiactl ] && [ ! -e /dev/nvidia0 ] && [ ! -e /dev/dxg ]; then
  refuse 2 'no GPU can be used here: there is no NVIDIA driver' $check --report "$work/none.md"
  [ ! -e "$work/none.md" ] || fail "a report without a GPU"
fi
# The tests themselves say why they do not run, and are no part of what tools/check.sh runs.
if [ -e "$VMA_BIN/libvma_cuda.so" ] && [ ! -e /dev/nvidiactl ]; then
  ctest --test-dir "$VMA_BUILD" -R '^gpu/parity_norm$' -V >"$work/out" 2>&1
  grep -qF 'SKIP: no GPU: there is no NVIDIA driver (error 35)' "$work/out" || fail "no reason: $(cat "$work/out")"
fi
[ "$(ctest --test-dir "$VMA_BUILD" -N -L '^gpu$' | grep -c 'Test *#.* gpu/')" -ge 15 ] || fail "tests labelled gpu are gone"
if [ "$(ctest --test-dir "$VMA_BUILD" -N -LE 'nightly|gpu' | grep -c ' gpu/')" != 0 ]; then fail "check.sh runs tests for a GPU"; fi

module=$VMA_BUILD/tests/libvma_cuda_sim.so
if [ ! -e "$module" ] || [ "$VMA_BUILD" != "$PWD/build" ]; then
  [ $failed = 0 ] || exit $failed
  echo "SKIP: no CUDA toolkit: there is no simulated device in this build"
  exit 77
fi
export VMA_GPU_MODULE=$module

refuse_output=any
VMA_SIM_FAIL=exclusive refuse 2 'no GPU can be used here: no GPU that the driver sees is of use' $check --no-build

# A stand-in that says what the real one does, or what $work/says holds.
cat >"$work/compute-sanitizer" <<'END'
#!/usr/bin/env bash
[ "$1 $3" = '--tool --error-exitcode' ] || exit 3
tool=$2 code=$4
shift 4
"$@" >/dev/null || exit $?
if [ -e "${0%/*}/broken" ] && [ $tool = racecheck ]; then
  echo '========= RACECHECK SUMMARY: 2 hazards displayed (2 errors, 0 warnings)'
  exit "$code"
fi
case $tool in
  racecheck) echo '========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)' ;;
  memcheck | synccheck | initcheck) echo '========= ERROR SUMMARY: 0 errors' ;;
esac
END
chmod +x "$work/compute-sanitizer"
export PATH=$work:$PATH
accept $check --no-build --only parity_optim --report "$work/good.md"
for part in '# CUDA backend on simulated a100' '- date: 20' '- commit: ' '- result: all passed' '  driver      CUDA ' \
  '  toolkit     CUDA ' '| gpu/parity_optim | passed |' '| memcheck of parity_optim | passed |' \
  '| racecheck of parity_optim | passed |' '| synccheck of parity_optim | passed |' \
  '| initcheck of parity_optim | passed |'; do
  grep -qF -- "$part" "$work/good.md" || fail "no '$part' in: $(cat "$work/good.md")"
done
touch "$work/broken"
refuse 1 'not everything passed' $check --no-build --only parity_optim --report "$work/bad.md"
grep -qF '| racecheck of parity_optim | **failed (99)' "$work/bad.md" || fail "a race is not in: $(cat "$work/bad.md")"
grep -qF -- '- result: **not all passed**' "$work/bad.md" || fail "a failed part is forgotten"
# No test at all is no success.
refuse 1 'not everything passed' $check --no-build --no-sanitizer --only nothing_of_this_name --report "$work/none.md"
grep -qF 'none ran' "$work/none.md" || fail "no test ran, and it passed: $(cat "$work/none.md")"
exit $failed
