#!/bin/sh
# venv.sh DIR ARGUMENT...: installs packages of Python into DIR/venv, which it makes, locked versions
# only. The arguments are pip's. If that cannot be had, one line says why.
set -eu

dir=$1
here=$(cd "$(dirname "$0")" && pwd)
shift

# Debian's own python3 rather than another one that may be first on PATH: it is the one that
# python3-venv belongs to.
python=/usr/bin/python3
[ -x "$python" ] || python=python3
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    echo 'no python3 with venv (Debian: python3-venv)'
    exit 1
fi
[ -d "$dir/venv" ] || "$python" -m venv "$dir/venv"
exec "$here/fetch.sh" "Python's registry" "$dir/fetch.log" "$dir/venv/bin/python" -m pip --quiet \
    --disable-pip-version-check install --require-hashes "$@"
