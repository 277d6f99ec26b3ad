#!/usr/bin/env bash
# labels: nightly
# Adapters go both ways between vma and PEFT itself over the small real model, with the same
# log-probabilities (tools/reference/peft_roundtrip.py). Needs a Python with
# tools/reference/requirements.txt: VMA_REFERENCE_PYTHON, else build/reference, which
# tools/reference/regenerate.sh makes.
set -euo pipefail
python=${VMA_REFERENCE_PYTHON:-build/reference/bin/python}
if ! [ -x "$python" ]; then
  echo "SKIP: no Python with the reference packages: run tools/reference/regenerate.sh --check, or set VMA_REFERENCE_PYTHON"
  exit 77
fi
model=${VMA_MODEL:-build/models/SmolLM2-135M-Instruct.Q4_1.gguf}
if ! [ -r "$model" ]; then
  echo "SKIP: no small model at $model"
  exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHONDONTWRITEBYTECODE=1 "$python" -W ignore tools/reference/peft_roundtrip.py "$VMA_BIN" "$folder"
