#!/usr/bin/env bash
# labels: nightly
# The golden files are still what the reference packages compute (regenerate.sh --check). Needs a
# Python as test_peft_roundtrip.sh says.
set -euo pipefail
# shellcheck source=tests/support/needs.sh
. tests/support/needs.sh
need_reference_python
PYTHON=$python tools/reference/regenerate.sh --check
