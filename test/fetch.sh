#!/bin/sh
# fetch.sh REGISTRY LOG COMMAND...: runs what fetches something from a registry, its words in LOG. If
# it fails, one line says why.
set -eu

registry=$1
log=$2
shift 2
timeout 900 "$@" >"$log" 2>&1 && exit 0
echo "$registry cannot be used: $(grep -iE 'error|refused|timed out' "$log" | tail -n 1)"
exit 1
