#!/usr/bin/env bash
# From a fresh clone to a fine-tuned model that answers: installs what is missing, builds, fetches a small real model
# (SmolLM2-135M-Instruct), LoRA-tunes it on the biomedical questions in data/samples, and asks it one of the kind before
# and after. About eight minutes on two cores; a GPU is not needed, and used where its driver and nvcc are. A second run
# takes what is there.
#
#   tools/quickstart.sh [--fresh] [key=value ...]
#
#   --fresh       train again although nothing has changed
#   key=value     passed on to vma-train, for example train.epochs=1 or data.path=my_questions.json
#                 (vma-train --print-config shows every key)
#
# Environment:
#   VMA_MODEL     another model: a GGUF file or a Hugging Face folder of the LLaMA family
#   VMA_QUESTION  another question
#   VMA_GPU       yes or no: whether the GPU's part is built. Default: where the driver is loaded and nvcc is there;
#                 "yes" is for building on a machine without GPU what runs on one with
#
# Everything is written under build/. What the tuned model says is no medical advice.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/setup.sh
. tools/setup.sh

fresh=no
settings=()
for argument; do
  case $argument in
    --help | -h)
      sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
      exit 0
      ;;
    --fresh) fresh=yes ;;
    *=*) settings+=("$argument") ;;
    *) setup_fail "\"$argument\" is neither --fresh nor key=value (try --help)" ;;
  esac
done

config=configs/lora_smollm2.yaml
out=build/quickstart
run=$out/run
question=${VMA_QUESTION:-Why can a large dose of paracetamol damage the liver?}
mkdir -p "$out"

setup_step "1. Packages"
mapfile -t packages < <(
  setup_missing_build
  if [ -z "${VMA_MODEL:-}" ] && ! setup_model_is_good "$SETUP_MODEL_FILE"; then setup_missing_fetch; fi
)
setup_install "${packages[@]}"

setup_step "2. Build"
setup_configure release
targets=(vma-train vma-infer)
if setup_wants_module build; then targets+=(vma_cuda); fi
setup_make release "${targets[@]}"

setup_step "3. Model"
if [ -n "${VMA_MODEL:-}" ]; then
  model=$VMA_MODEL
  if [ ! -e "$model" ]; then setup_fail "VMA_MODEL is $model, but there is nothing there"; fi
  setup_say "Taking VMA_MODEL: $model"
else
  model=$SETUP_MODEL_FILE
  if ! setup_fetch_model; then
    setup_fail "PyPI does not answer. Try again later, or give a model that you have: VMA_MODEL=path tools/quickstart.sh"
  fi
fi

# fingerprint: changes when anything does that the result of the training depends on.
fingerprint() {
  {
    printf '%s\n' "$model" "${settings[@]}"
    find "$model" -type f -printf '%p %s %T@\n' | sort
    sha256sum "$config" data/samples/biomed_qa.json build/bin/vma-train
    local setting
    for setting in "${settings[@]}"; do
      case $setting in data.path=*) sha256sum "${setting#*=}" ;; esac
    done
  } | sha256sum
}

setup_step "4. LoRA fine-tuning"
now=$(fingerprint)
if [ $fresh = no ] && [ -f "$out/done" ] && [ "$(cat "$out/done")" = "$now" ]; then
  setup_say "Already done with these settings: taking $run (--fresh trains again)."
else
  rm -rf "$run" "$out/done" "$out/before.txt" "$out/after.txt"
  build/bin/vma-train --config "$config" "model.path=$model" "output.dir=$run" "${settings[@]}"
  printf '%s\n' "$now" >"$out/done"
fi
adapter=$run/adapter
if [ ! -f "$adapter/adapter_model.safetensors" ]; then setup_fail "no adapter in $adapter"; fi

# answer FILE ARGUMENTS...: asks the question and keeps what comes.
answer() {
  local file=$1
  shift
  build/bin/vma-infer --model "$model" "$@" --instruction "$question" --max-new-tokens 96 | tee "$file"
  printf '\n'
}

setup_step "5. One question, before and after"
printf '%s\n\nBefore:\n' "$question"
answer "$out/before.txt"
printf '\nAfter:\n'
answer "$out/after.txt" --adapter "$adapter"

loss() { # loss first|last: of the evaluations
  local lines
  lines=$(grep -o '"eval_loss": *[-+.0-9eE]*' "$run/metrics.jsonl" | sed 's/.*: *//')
  if [ "$1" = first ]; then head -n 1 <<<"$lines"; else tail -n 1 <<<"$lines"; fi
}

setup_step "Result"
cat <<EOF
Held-out loss before: $(loss first)
Held-out loss after:  $(loss last)
Adapter:              $adapter   (opens in PEFT as well)
Metrics of each step: $run/metrics.jsonl

Ask it yourself:
  build/bin/vma-infer --model $model --adapter $adapter --instruction "..."
What it says is no medical advice.
EOF
