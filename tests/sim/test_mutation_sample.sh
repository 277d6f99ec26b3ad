#!/usr/bin/env bash
# labels: quick sim
# A seeded sample of the mutants of tests/nightly/test_mutation.sh: about a minute on two cores. The floor only keeps what
# has been reached: decoding attention has many bounds that no case needs yet. To be raised with the cases.
set -euo pipefail
exec tests/sim/mutation.sh --sample 60 --seed 7 --least 30 "$VMA_BUILD"
