#!/usr/bin/env bash
# Install with the dev extra and run the tests. Arguments go to pytest: bash tools/test.sh -m slow
set -euo pipefail
cd "$(dirname "$0")/.."
bash tools/setup.sh dev
# Two processes that each use one thread: tests are many small computations. Not by the number of
# tests in a file: the longest of all, of the commands in the pages, would come last and alone.
OMP_NUM_THREADS=1 exec .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
