#!/bin/sh
# setup.sh go|python|js DIR: builds or installs one client of the interop tests
# below DIR, locked versions only. Where the tool chain is missing it says so
# and leaves no client behind; in CI (CI=true) that is a failure.
set -eu

client=$1
dir=$2
here=$(cd "$(dirname "$0")" && pwd)

rm -rf "$dir"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

skip() {
    echo "SKIP: interop/$client: $1" >&2
    [ "${CI:-}" = true ] && exit 1
    exit 0
}

echo "interop/$client: setting up"
case $client in
go)
    command -v go >/dev/null || skip 'no go (Debian: golang-go)'
    cd "$here/go"
    go build -trimpath -buildvcs=false -o "$dir/client" .
    ;;
python)
    # Debian's own python3 rather than another one that may be first on PATH:
    # it is the one that python3-venv belongs to.
    python=/usr/bin/python3
    [ -x "$python" ] || python=python3
    "$python" -c 'import ensurepip' 2>/dev/null || skip 'no python3 with venv (Debian: python3-venv)'
    "$python" -m venv "$dir/venv"
    pip="$dir/venv/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes"
    $pip -r "$here/python/requirements-build.txt"
    $pip --use-pep517 --no-build-isolation -r "$here/python/requirements.txt"
    ;;
js)
    if ! { command -v node && command -v npm; } >/dev/null; then
        skip 'no node or no npm (Debian: nodejs npm)'
    fi
    cp "$here/js/package.json" "$here/js/package-lock.json" "$here/js/client.js" "$dir"
    cd "$dir"
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
    ;;
*)
    echo "$0: $client: no such client" >&2
    exit 2
    ;;
esac
touch "$dir/ready"
