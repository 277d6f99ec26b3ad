# What a test cannot do without, or it is skipped with the reason; sourced.
# shellcheck shell=bash disable=SC2034

# need_small_model: $model, the small real model
need_small_model() {
  model=${VMA_MODEL:-build/models/SmolLM2-135M-Instruct.Q4_1.gguf}
  if [ ! -r "$model" ]; then
    echo "SKIP: no small model at $model (tools/setup.sh fetches it)"
    exit 77
  fi
}

# need_reference_python: $python, one with tools/reference/requirements.txt
need_reference_python() {
  python=${VMA_REFERENCE_PYTHON:-build/reference/bin/python}
  if [ ! -x "$python" ]; then
    echo "SKIP: no Python with the reference packages: run tools/reference/regenerate.sh --check, or set" \
      "VMA_REFERENCE_PYTHON"
    exit 77
  fi
}
