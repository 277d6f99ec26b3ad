#!/usr/bin/env bash
# labels: nightly
# Adapters go both ways between vma and PEFT itself over the small real model, with the same
# log-probabilities (tools/reference/peft_roundtrip.py). Needs a Python with
# tools/reference/requirements.txt: VMA_REFERENCE_PYTHON, else build/reference, which
# tools/reference/regenerate.sh makes.
set -euo pipefail
# shellcheck source=tests/support/needs.sh
. tests/support/needs.sh
need_reference_python
need_small_model
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHONDONTWRITEBYTECODE=1 "$python" -W ignore tools/reference/peft_roundtrip.py "$VMA_BIN" "$folder"
