#!/bin/sh
# setup.sh go|python|js DIR: builds or installs one client of the interop tests
# below DIR, locked versions only. Where the tool chain is missing or its
# registry cannot be reached, it says so (../skip.sh) and leaves no client behind.
set -eu

client=$1
dir=$2
here=$(cd "$(dirname "$0")" && pwd)

rm -rf "$dir"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

skip() {
    exec "$here/../skip.sh" "interop/$client" "$1"
}

# fetch REGISTRY COMMAND...: what it says, if it fails, in one line.
fetch() {
    registry=$1
    shift
    if ! timeout 900 "$@" >"$dir/fetch.log" 2>&1; then
        skip "$registry cannot be used: $(grep -iE 'error|refused|timed out' "$dir/fetch.log" | tail -n 1)"
    fi
}

echo "interop/$client: setting up"
case $client in
go)
    "$here/../go-build.sh" interop/go "$here/go" . "$dir/client"
    [ -x "$dir/client" ] || exit 0
    ;;
python)
    # Debian's own python3 rather than another one that may be first on PATH:
    # it is the one that python3-venv belongs to.
    python=/usr/bin/python3
    [ -x "$python" ] || python=python3
    "$python" -c 'import ensurepip' 2>/dev/null || skip 'no python3 with venv (Debian: python3-venv)'
    "$python" -m venv "$dir/venv"
    pip="$dir/venv/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes"
    fetch "Python's registry" $pip -r "$here/python/requirements-build.txt"
    fetch "Python's registry" $pip --use-pep517 --no-build-isolation -r "$here/python/requirements.txt"
    ;;
js)
    if ! { command -v node && command -v npm; } >/dev/null; then
        skip 'no node or no npm (Debian: nodejs npm)'
    fi
    cp "$here/js/package.json" "$here/js/package-lock.json" "$here/js/client.js" "$dir"
    cd "$dir"
    fetch "npm's registry" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
    ;;
*)
    echo "$0: $client: no such client" >&2
    exit 2
    ;;
esac
touch "$dir/ready"
