#!/usr/bin/env bash
# Installs what is missing, builds, fetches the small model and runs every test but those labelled "nightly"; then runs
# the quick tests again under AddressSanitizer and UndefinedBehaviorSanitizer. At most 40 minutes on 2 cores.
#
#   tools/check.sh                  all of it
#   tools/check.sh --no-sanitize    without the second part
#
# Exit status 0: all passed, and no test was skipped that must not be. A test may be skipped only for data of
# ../shared/data (VMA_TEST_DATA) where that folder is absent, for the simulated device where there is no nvcc, for an
# instruction set that the machine lacks, and for the small model where PyPI does not answer. No test here takes a GPU
# (those are labelled "gpu"): the CUDA kernels run on the simulated device.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/setup.sh
. tools/setup.sh

sanitize=yes
case "${1:-}" in
  '') ;;
  --no-sanitize) sanitize=no ;;
  --help | -h)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
    exit 0
    ;;
  *) setup_fail "unknown option $1 (try --help)" ;;
esac
logs=build/check
rm -rf "$logs"
mkdir -p "$logs"
failed=0
jobs=$(nproc)

# skipped XML: "name<TAB>reason" of every skipped test of a JUnit file that ctest wrote.
skipped() {
  awk '
    /<testcase / { name = $0; sub(/.*<testcase name="/, "", name); sub(/".*/, "", name); skip = 0; reason = "" }
    /<skipped/ { skip = 1 }
    /SKIP: / && reason == "" { reason = $0; sub(/.*SKIP: /, "", reason); sub(/<\/system-out>.*/, "", reason) }
    /<\/testcase>/ { if (skip) printf "%s\t%s\n", name, reason == "" ? "(no reason given)" : reason }
  ' "$1"
}

may_skip() { # may_skip REASON
  case $1 in
    *shared/data* | *VMA_TEST_DATA*) [ ! -d "${VMA_TEST_DATA:-../shared/data}" ] ;;
    *CUDA* | *toolkit*) [ "$cuda" = absent ] ;;
    *'instruction set'*) true ;;
    *model*) [ "$model" = absent ] ;;
    *) false ;;
  esac
}

# run_tests NAME FOLDER ARGUMENTS...: ctest in a build folder; counts, and judges what was skipped.
run_tests() {
  local name=$1 folder=$2 status=0 total skips=0 test reason
  shift 2
  ctest --test-dir "$folder" "$@" --output-on-failure -j "$jobs" --no-tests=error --output-junit "$PWD/$logs/$name.xml" \
    --test-output-size-passed 200000 --test-output-size-failed 400000 2>&1 | tee "$logs/$name.log" || status=$?
  total=$(grep -c '<testcase ' "$logs/$name.xml" || true)
  skipped "$logs/$name.xml" >"$logs/$name.skipped"
  while IFS=$'\t' read -r test reason; do
    skips=$((skips + 1))
    if may_skip "$reason"; then
      setup_say "skipped: $test: $reason"
    else
      setup_say "SKIPPED, BUT MUST NOT BE: $test: $reason"
      status=1
    fi
  done <"$logs/$name.skipped"
  setup_say "$name: $((total - skips)) of $total tests run, $skips skipped"
  if [ "$status" != 0 ]; then failed=1; fi
}

setup_step "Packages"
mapfile -t packages < <(
  setup_missing_build
  setup_missing_check
  if ! setup_model_is_good "$SETUP_MODEL_FILE"; then setup_missing_fetch; fi
)
setup_install "${packages[@]}"

setup_step "Build"
setup_build release
cuda=absent
if [ -e build/bin/libvma_cuda.so ]; then
  cuda=present
  if [ ! -e build/tests/libvma_cuda_sim.so ]; then setup_fail "the simulated device was not built"; fi
elif command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then
  setup_fail "nvcc is here, but the CUDA backend was not built: see the table of the configure step"
fi

setup_step "Small model"
model=present
if [ -n "${VMA_MODEL:-}" ]; then
  setup_say "Taking VMA_MODEL: $VMA_MODEL"
elif ! setup_fetch_model; then
  model=absent
  setup_say "PyPI does not answer: the tests of the small model are skipped."
fi

setup_step "Tests"
run_tests release build -LE 'nightly|gpu'

if [ $sanitize = yes ]; then
  # One build with both sanitizers: what either finds stops the test, at half the time of two builds.
  setup_step "Build with AddressSanitizer and UndefinedBehaviorSanitizer"
  setup_build sanitize
  setup_step "Quick tests under the sanitizers"
  run_tests sanitize build/sanitize -L quick -LE 'nightly|weights|gpu|sim' -E '^core/(lint|sample_data)$'
fi

setup_step "Result"
for log in "$logs"/*.skipped; do
  name=$(basename "$log" .skipped)
  setup_say "$name: $(grep 'tests passed' "$logs/$name.log" || echo 'no tests'), $(wc -l <"$log") skipped"
done
if [ $cuda = absent ]; then
  setup_say "Left out, since there is no nvcc here: the CUDA backend's build, and all tests on the simulated device."
fi
if [ $failed != 0 ]; then setup_fail "the checks failed"; fi
setup_say "All checks passed."
