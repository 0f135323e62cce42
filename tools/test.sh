#!/usr/bin/env bash
# Install the extras of training and development, check style and types, and run the tests.
# Arguments go to pytest: bash tools/test.sh -m slow
set -euo pipefail
cd "$(dirname "$0")/.."
bash tools/setup.sh train dev
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
# Two processes with one thread each, because a test is many small computations. `loadfile` without
# `loadscope` order: the longest file, test_docs.py, would otherwise come last and run alone.
OMP_NUM_THREADS=1 exec .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
