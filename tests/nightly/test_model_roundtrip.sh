#!/usr/bin/env bash
# labels: nightly
# Model folders go both ways between vma and transformers, merged ones too, and vocabularies of GGUF files
# (tools/reference/model_roundtrip.py). Needs a Python with tools/reference/requirements.txt: VMA_REFERENCE_PYTHON, else
# build/reference, which tools/reference/regenerate.sh makes.
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
vocabularies=${VMA_TEST_DATA:-../shared/data}/tokenizers
[ -d "$vocabularies" ] || vocabularies=
PYTHONDONTWRITEBYTECODE=1 "$python" -W ignore tools/reference/model_roundtrip.py "$VMA_BIN" "$folder" ${vocabularies:+"$vocabularies"}
