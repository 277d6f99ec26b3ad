#!/usr/bin/env bash
# labels: nightly
# Model folders go both ways between vma and transformers, merged ones too, and vocabularies of GGUF files
# (tools/reference/model_roundtrip.py). Needs a Python with tools/reference/requirements.txt: VMA_REFERENCE_PYTHON, else
# build/reference, which tools/reference/regenerate.sh makes.
set -euo pipefail
# shellcheck source=tests/support/needs.sh
. tests/support/needs.sh
need_reference_python
need_small_model
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
vocabularies=${VMA_TEST_DATA:-../shared/data}/tokenizers
[ -d "$vocabularies" ] || vocabularies=
PYTHONDONTWRITEBYTECODE=1 "$python" -W ignore tools/reference/model_roundtrip.py "$VMA_BIN" "$folder" ${vocabularies:+"$vocabularies"}
