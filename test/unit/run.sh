#!/bin/sh
# Runs the given test programs, as many at once as there are processors, each
# in a temporary directory of its own that is removed afterwards. Prints what
# each said; fails if any failed or outlived the limit (seconds).
set -u
LIMIT=${LIMIT:-900}
export LIMIT

one() {
    dir=$(mktemp -d) || exit 1
    out=$dir.out
    (cd "$dir" && exec timeout "$LIMIT" "$1") >"$out" 2>&1
    rc=$?
    if [ $rc -eq 0 ]; then
        printf 'ok   %s (%s tests)\n' "${1##*/}" "$(grep -c '\[       OK \]' "$out")"
    else
        printf 'FAIL %s (exit %d)\n' "${1##*/}" "$rc"
        cat "$out"
    fi
    rm -rf "$dir" "$out"
    return $rc
}

if [ "${1-}" = --one ]; then
    one "$2"
    exit
fi
printf '%s\n' "$@" | sed "s|^|$PWD/|" | xargs -P "$(nproc)" -n 1 "$0" --one
