#!/usr/bin/env bash
# labels: nightly
# All fifty steps of training all weights of SmolLM2 against the reference (model/smollm2_full takes the first twenty).
set -euo pipefail
VMA_CURVE_STEPS=50 exec "$VMA_BUILD/tests/test_smollm2_full"
