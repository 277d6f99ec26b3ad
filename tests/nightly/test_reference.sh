#!/usr/bin/env bash
# labels: nightly
# The golden files are still what the reference packages compute (regenerate.sh --check). Needs a
# Python as test_peft_roundtrip.sh says.
set -euo pipefail
python=${VMA_REFERENCE_PYTHON:-build/reference/bin/python}
if ! [ -x "$python" ]; then
  echo "SKIP: no Python with the reference packages: run tools/reference/regenerate.sh --check, or set VMA_REFERENCE_PYTHON"
  exit 77
fi
PYTHON=$python tools/reference/regenerate.sh --check
