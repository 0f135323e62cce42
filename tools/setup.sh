#!/usr/bin/env bash
# Create .venv and install asr in it (editable). Extras by name: bash tools/setup.sh train digits
# A second run with the same extras changes nothing. PYTHON names another interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
"$python" - <<'EOF' || exit 2
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 14):
    sys.exit(f"asr needs Python 3.11 to 3.14, this is {sys.version.split()[0]}; "
             "name another with PYTHON=python3.13 bash tools/setup.sh")
EOF

extras=$(IFS=,; echo "$*")
wanted="${extras}|$(cat setup.cfg)"
stamp=.venv/installed # what was asked for when the installation last succeeded
if [[ -x .venv/bin/asr && -f $stamp && "$(cat $stamp)" == "$wanted" ]]; then
    echo "setup: .venv is up to date"
    exit 0
fi
[[ -x .venv/bin/python ]] || "$python" -m venv .venv
echo "setup: installing into .venv (PyTorch, of the extra train, is large and takes some minutes)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --editable ".${extras:+[$extras]}"
echo "$wanted" > "$stamp"
.venv/bin/asr doctor
