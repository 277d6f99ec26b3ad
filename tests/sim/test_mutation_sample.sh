#!/usr/bin/env bash
# labels: quick sim
# A seeded sample of the mutants of tests/nightly/test_mutation.sh: about a minute on two cores.
set -euo pipefail
exec tests/sim/mutation.sh --sample 60 --seed 7 "$VMA_BUILD"
