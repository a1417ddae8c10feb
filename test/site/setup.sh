#!/bin/sh
# setup.sh DIR: installs what builds the site into DIR/venv, locked versions only. If that cannot be
# had, it says why, also in DIR/why, and fails.
set -eu

dir=$1
here=$(cd "$(dirname "$0")" && pwd)

rm -rf "$dir"
mkdir -p "$dir"

echo "site: setting up"
if ! why=$("$here/../venv.sh" "$dir" --only-binary=:all: -r "$here/requirements.txt"); then
    echo "the site cannot be built: $why" | tee "$dir/why" >&2
    exit 1
fi
touch "$dir/ready"
