#!/bin/sh
# go-build.sh WHAT DIR PACKAGE OUTPUT: builds a Go program of the tests, of the module
# in DIR. Where there is no Go, or its registry cannot be reached, WHAT is not
# tested (skip.sh), and there is no OUTPUT. A program that does not compile is a failure.
set -eu
what=$1 dir=$2 package=$3 output=$4
here=$(cd "$(dirname "$0")" && pwd)
go=${GO:-go}
case $output in /*) ;; *) output=$PWD/$output ;; esac

command -v "$go" >/dev/null || exec "$here/skip.sh" "$what" 'there is no go (Debian: golang-go)'
# Not for a second time in one run.
why='the registry of Go modules cannot be reached'
if [ -n "${SKIPPED:-}" ] && grep -rqs "$why" "${SKIPPED%/*}"; then
    exec "$here/skip.sh" "$what" "$why"
fi
mkdir -p "$(dirname "$output")"
cd "$dir"
if ! said=$(timeout 600 "$go" mod download 2>&1); then
    exec "$here/skip.sh" "$what" "$why: $(echo "$said" | tail -n 1)"
fi
# As for the version in the repository: git refuses to say it to another user than its owner.
exec "$go" build -trimpath -buildvcs=false -o "$output" "$package"
