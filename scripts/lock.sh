#!/bin/sh
# Writes requirements.lock anew from setup.cfg: every dependency and extra, with hashes, for every
# Python from 3.11 on. Needs the network. Run it after changing a dependency, and commit the result.
set -eu
cd -- "$(dirname -- "$0")/.."

tools=$(mktemp -d)
trap 'rm -rf -- "$tools"' EXIT
/usr/bin/python3 -m venv "$tools/venv"
"$tools/venv/bin/python" -m pip install --quiet 'uv>=0.5'
UV_CUSTOM_COMPILE_COMMAND='scripts/lock.sh' "$tools/venv/bin/uv" pip compile \
    setup.cfg scripts/build-requirements.in --all-extras --universal --python-version 3.11 \
    --generate-hashes --no-emit-index-url --quiet --output-file requirements.lock "$@"
