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

echo "interop/$client: setting up"
case $client in
go)
    "$here/../go-build.sh" interop/go "$here/go" . "$dir/client"
    [ -x "$dir/client" ] || exit 0
    ;;
python)
    why=$("$here/../venv.sh" "$dir" -r "$here/python/requirements-build.txt") || skip "$why"
    why=$("$here/../venv.sh" "$dir" --use-pep517 --no-build-isolation \
        -r "$here/python/requirements.txt") || skip "$why"
    ;;
js)
    if ! { command -v node && command -v npm; } >/dev/null; then
        skip 'no node or no npm (Debian: nodejs npm)'
    fi
    cp "$here/js/package.json" "$here/js/package-lock.json" "$here/js/client.js" "$dir"
    cd "$dir"
    why=$("$here/../fetch.sh" "npm's registry" "$dir/fetch.log" \
        npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) || skip "$why"
    ;;
*)
    echo "$0: $client: no such client" >&2
    exit 2
    ;;
esac
touch "$dir/ready"
