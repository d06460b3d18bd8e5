#!/bin/sh
# Makes .venv from /usr/bin/python3 and requirements.lock, with this checkout installed in it and the
# system's Mininet linked into it. Does nothing when that is done already. Safe to interrupt at any
# moment: the stamp is written last, and without the right stamp everything is made anew.
set -eu
cd -- "$(dirname -- "$0")/.."

PYTHON=/usr/bin/python3
stamp=.venv/.complete

# What the environment depends on. The path counts because scripts inside name it.
fingerprint() {
    pwd
    "$PYTHON" -c 'import sys; print(sys.version)'
    cat requirements.lock setup.cfg pyproject.toml scripts/make-venv.sh
}
wanted=$(fingerprint | sha256sum)
complete() { [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; }

complete && exit 0
exec 9>.venv.lock
flock 9  # another make in this checkout may be at it: then wait, and look again
complete && exit 0

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed; $PYTHON is $("$PYTHON" --version)." >&2
    exit 1
}
echo "Making .venv (about a minute) ..." >&2
rm -rf .venv
"$PYTHON" -m venv .venv
pip="-m pip -qq --disable-pip-version-check --no-input install --no-deps"
# What builds packages comes first and from the lock too, so that nothing unlocked is fetched to build with.
awk '/^[a-z]/ { on = /^(setuptools|wheel)==/ } on' requirements.lock > .venv/build.lock
.venv/bin/python $pip --require-hashes -r .venv/build.lock
.venv/bin/python $pip --require-hashes --no-build-isolation -r requirements.lock
.venv/bin/python $pip --no-build-isolation --editable .

# Mininet exists for the system's Python only. This link brings in that one package and nothing beside it.
mininet=$("$PYTHON" -c 'import importlib.util as u; print(u.find_spec("mininet").submodule_search_locations[0])')
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
ln -sfn "$mininet" "$site/mininet"

.venv/bin/python -m pip --quiet check
.venv/bin/python -c 'import mininet.net, controller_app'
printf '%s\n' "$wanted" > "$stamp.new"
mv "$stamp.new" "$stamp"
