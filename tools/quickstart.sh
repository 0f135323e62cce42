#!/usr/bin/env bash
# Install asr, train a recognizer of spoken digits, transcribe three recordings and score it.
set -euo pipefail
cd "$(dirname "$0")/.."
bash tools/setup.sh train digits

echo "== asr run recipes/digits"
.venv/bin/asr run recipes/digits

echo "== asr transcribe: three recordings of voices that are not in the training set"
.venv/bin/asr transcribe runs/digits/model.asr data/digits/audio/test-0000/test-0000-00{0,1,2}.wav

echo "== asr score"
.venv/bin/asr score runs/digits/model.asr data/digits/test.jsonl
