#!/bin/sh
# setup.sh DIR: installs what builds the site into DIR/venv, locked versions only. If that cannot be
# had, it says why, also in DIR/why, and fails.
set -eu

dir=$1
here=$(cd "$(dirname "$0")" && pwd)

rm -rf "$dir"
mkdir -p "$dir"

fail() {
    echo "the site cannot be built: $1" | tee "$dir/why" >&2
    exit 1
}

echo "site: setting up"
# Debian's own python3 rather than another one that may be first on PATH: it is the one that
# python3-venv belongs to.
python=/usr/bin/python3
[ -x "$python" ] || python=python3
"$python" -c 'import ensurepip' 2>/dev/null || fail 'no python3 with venv (Debian: python3-venv)'
"$python" -m venv "$dir/venv"
if ! timeout 600 "$dir/venv/bin/python" -m pip --quiet --disable-pip-version-check install \
    --require-hashes --only-binary=:all: -r "$here/requirements.txt" >"$dir/fetch.log" 2>&1; then
    fail "Python's registry cannot be used: $(grep -iE 'error|refused|timed out' "$dir/fetch.log" | tail -n 1)"
fi
touch "$dir/ready"
