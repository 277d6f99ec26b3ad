#!/usr/bin/env bash
# labels: nightly sim
# Every barrier, __syncwarp, cp.async wait and bounds predicate of every kernel dropped, one at a time.
set -euo pipefail
exec tests/sim/mutation.sh "$VMA_BUILD"
