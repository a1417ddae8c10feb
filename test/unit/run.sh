#!/bin/sh
# Runs the given test programs, as many at once as there are processors, each
# in a temporary directory of its own that is removed afterwards. Prints what
# each said; fails if any failed or outlived the limit (seconds). Upon Ctrl-C they end as well.
# RUN_BY in the environment: the emulator that runs them.
set -u
LIMIT=${LIMIT:-900}
export LIMIT

one() {
    dir=$(mktemp -d) || exit 1
    out=$dir.out
    # timeout and the program are in a process group of their own, which Ctrl-C does not reach. And
    # what a shell starts with "&" would ignore it.
    pid=
    trap 'kill $pid; wait $pid; rm -rf "$dir" "$out"; exit 130' INT TERM HUP
    (cd "$dir" && exec env --default-signal=INT,QUIT timeout -k 10 "$LIMIT" ${RUN_BY:-} "$1") >"$out" 2>&1 &
    pid=$!
    wait $pid
    rc=$?
    # One that ends itself in the middle, with 0, has not passed.
    if [ $rc -eq 0 ] && ! grep -q '^\[  PASSED  \]' "$out"; then
        echo 'ended before all its tests had' >>"$out"
        rc=1
    fi
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
