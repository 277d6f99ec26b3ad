#!/usr/bin/env bash
# The first hour on a GPU: builds, runs every test labelled "gpu" on the GPU of this machine (each op against the plain C
# reference, the trainer, two streams, greedy text, SmolLM2's layers, whole programs), then the ops once more under
# compute-sanitizer: memcheck, racecheck, synccheck, initcheck. What it finds goes to a report with date, device, driver
# and toolkit.
#
#   tools/gpu_check.sh [options]
#
#   --only REGEX       only the tests gpu/... that it matches; of the ops under compute-sanitizer those too
#   --no-sanitizer     without the second part
#   --no-build         takes build/ as it is
#   --report FILE      default: build/gpu_check/report.md; one that is worth keeping goes to tests/results/
#
# Exit status 0: all passed, nothing was skipped; 1: something failed or could not be run; 2: there is no GPU here that can
# be used, or the call was wrong. VMA_GPU_MODULE=build/tests/libvma_cuda_sim.so rehearses it on the simulated device.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/setup.sh
. tools/setup.sh

only=. sanitizer=yes build=yes logs=build/gpu_check
report=$logs/report.md
usage() {
  printf 'error: %s (try --help)\n' "$1" >&2
  exit 2
}
while [ $# -gt 0 ]; do
  case $1 in
    --only) only=${2:?--only takes a regular expression} && shift 2 ;;
    --no-sanitizer) sanitizer=no && shift ;;
    --no-build) build=no && shift ;;
    --report) report=${2:?--report takes a file} && shift 2 ;;
    --help | -h)
      sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
      exit 0
      ;;
    *) usage "unknown option $1" ;;
  esac
done

no_gpu() {
  printf 'error: no GPU can be used here: %s\n' "$1" >&2
  exit 2
}

# Before anything is built.
if [ -z "${VMA_GPU_MODULE:-}" ] && ! setup_has_driver; then
  no_gpu "there is no NVIDIA driver (no /dev/nvidiactl); go to a node that has one, or ask the scheduler (--gres=gpu:1)"
fi

if [ $build = yes ]; then
  setup_step "Packages"
  mapfile -t packages < <(setup_missing_build)
  setup_install "${packages[@]}"
  setup_step "Build"
  setup_build release
fi
export VMA_BIN=$PWD/build/bin VMA_BUILD=$PWD/build
export VMA_CUDA_MODULE=${VMA_GPU_MODULE:-$VMA_BIN/libvma_cuda.so}
if [ ! -x "$VMA_BIN/vma-train" ]; then setup_fail "build/bin/vma-train is not there: run without --no-build"; fi
if [ ! -e "$VMA_CUDA_MODULE" ]; then
  setup_fail "$VMA_CUDA_MODULE is not there: nvcc of CUDA 12.4 or newer was not found when building (cmake's table says)"
fi
environment=$("$VMA_BIN/vma-train" env)
why=$(sed -n 's/^  cannot be used: //p' <<<"$environment")
if [ -n "$why" ]; then no_gpu "$why"; fi

# ---- tests ----

mkdir -p "$logs" "$(dirname "$report")"
failed=0
: >"$logs/table"
# row PART RESULT SECONDS: one line of the report's table
row() {
  printf '| %s | %s | %s |\n' "$1" "$2" "$3" >>"$logs/table"
  case $2 in passed*) ;; *) failed=1 ;; esac
  setup_say "$1: $2"
}

setup_step "Tests on $(sed -n 's/^  cuda:0 *//p' <<<"$environment" | cut -d , -f 1)"
began=$SECONDS status=0
ctest --test-dir build -L gpu -R "^gpu/.*($only)" --no-tests=error --output-on-failure --output-junit "$PWD/$logs/tests.xml" \
  >"$logs/tests.log" 2>&1 || status=$?
# "name result seconds" of each.
sed -nE 's/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: ([^ ]+) [. ]*\** *(Passed|Failed|Timeout|Skipped|Not Run|Exception[^0-9]*) +([0-9.]+) sec.*/\1 \3 \2/p' \
  "$logs/tests.log" >"$logs/tests"
while read -r name seconds result; do
  if [ "$result" = Passed ]; then row "$name" passed "$seconds"; else row "$name" "**${result,,}**" "$seconds"; fi
done <"$logs/tests"
if [ ! -s "$logs/tests" ]; then row "tests" "**none ran: see $logs/tests.log**" $((SECONDS - began)); fi
if [ $status != 0 ]; then failed=1; fi

# ---- compute-sanitizer ----

sanitize_with() { # sanitize_with PATH
  local tool name status log began
  local -a names
  mapfile -t names < <(ctest --test-dir build -N -L gpu -R "^gpu/.*($only)" | sed -n 's|.* gpu/\(parity_[a-z_]*\)$|\1|p')
  for tool in memcheck racecheck synccheck initcheck; do
    for name in "${names[@]}"; do
      log=$logs/$tool-$name.log status=0 began=$SECONDS
      bash tests/support/on_gpu.sh "$1" --tool "$tool" --error-exitcode 99 "build/tests/test_$name" >"$log" 2>&1 || status=$?
      if [ $status = 0 ] && grep -q 'ERROR SUMMARY: 0 errors\|RACECHECK SUMMARY: 0 hazards' "$log"; then
        row "$tool of $name" passed $((SECONDS - began))
      else
        row "$tool of $name" "**failed ($status): $log**" $((SECONDS - began))
      fi
    done
  done
}

if [ $sanitizer = yes ]; then
  setup_step "compute-sanitizer"
  tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null || true)
  if [ -n "$tool" ]; then
    sanitize_with "$tool"
  else
    row compute-sanitizer "**not run: it is neither in PATH nor in /usr/local/cuda/bin**" 0
  fi
fi

# ---- the report ----

{
  printf '# CUDA backend on %s\n\n' "$(sed -n 's/^  cuda:0 *//p' <<<"$environment" | cut -d , -f 1)"
  printf -- '- date: %s\n' "$(date -u '+%Y-%m-%d %H:%M UTC')"
  printf -- '- commit: %s\n' "$(git describe --always --dirty 2>/dev/null || echo unknown)"
  printf -- '- result: %s, %d minutes\n' "$([ $failed = 0 ] && echo 'all passed' || echo '**not all passed**')" $((SECONDS / 60))
  # shellcheck disable=SC2016 # a block of Markdown
  printf '\n```\n%s\n```\n\n' "$environment"
  printf '| part | result | seconds |\n|---|---|---|\n'
  cat "$logs/table"
} >"$report"
setup_step "Result"
setup_say "The report: $report; logs: $logs. One that is worth keeping goes to tests/results/ by the name of the GPU."
if [ $failed != 0 ]; then setup_fail "not everything passed: see the report"; fi
setup_say "All passed."
