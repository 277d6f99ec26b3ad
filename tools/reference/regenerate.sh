#!/usr/bin/env bash
# Writes tests/golden anew with the reference implementations (development only; nothing of the
# product needs Python). Run it after a change of a dumper, look at the tables it prints, commit the
# files together with the script that made them.
#
#   tools/reference/regenerate.sh [--check] [tiny] [smollm2] [dataset] [tokenizer]      default: all
#
# --check writes nothing: it recomputes what the stored files hold and fails where that has moved.
# PYTHON: an interpreter that has the packages of requirements.txt (else a virtual environment is
# made in build/reference). VMA_MODEL: SmolLM2-135M-Instruct.Q4_1.gguf.
#
# Bytes depend on the machine in the last bits (torch picks its kernels by the CPU); the manifest
# says which file each test was written against, not what another machine must produce.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONDONTWRITEBYTECODE=1

check=()
parts=()
for arg in "$@"; do
  case "$arg" in
    --check) check=(--check) ;;
    tiny | smollm2 | dataset | tokenizer) parts+=("$arg") ;;
    *) sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done
[ ${#parts[@]} -gt 0 ] || parts=(tiny smollm2 dataset tokenizer)

if [ -z "${PYTHON:-}" ]; then
  PYTHON=build/reference/bin/python
  if [ ! -x "$PYTHON" ]; then
    python3 -m venv build/reference
    "$PYTHON" -m pip install -q -r tools/reference/requirements.txt
  fi
fi

for part in "${parts[@]}"; do
  case "$part" in
    tiny)
      "$PYTHON" tools/reference/tiny_llama.py "${check[@]}"
      "$PYTHON" tools/reference/tiny_llama_train.py "${check[@]}"
      "$PYTHON" tools/reference/tiny_llama_full.py "${check[@]}"
      "$PYTHON" tools/reference/rope_freqs.py "${check[@]}"
      "$PYTHON" tools/reference/beams.py "${check[@]}" tiny
      ;;
    smollm2)
      "$PYTHON" tools/reference/smollm2_text.py "${check[@]}"
      "$PYTHON" tools/reference/smollm2_lora.py "${check[@]}"
      "$PYTHON" tools/reference/smollm2_full.py "${check[@]}"
      "$PYTHON" tools/reference/beams.py "${check[@]}" smollm2
      ;;
    dataset)
      "$PYTHON" tools/reference/dataset_golden.py "${check[@]}"
      "$PYTHON" tools/reference/chat_golden.py "${check[@]}"
      ;;
    tokenizer) "$PYTHON" tools/reference/tokenizer_golden.py "${check[@]}" ;;
  esac
done
