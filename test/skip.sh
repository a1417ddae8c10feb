#!/bin/sh
# skip.sh WHAT REASON: says in one line that WHAT is not tested, and why. In CI
# (CI=true) that is a failure; elsewhere `make check` goes on, and says it once
# more at its very end. $SKIPPED is the file for the lines of this stage, in a directory for those of
# all stages.
set -eu
line="NOT TESTED: $1: $2"
echo "$line" >&2
[ -z "${SKIPPED:-}" ] || grep -qxF "$line" "$SKIPPED" 2>/dev/null || echo "$line" >>"$SKIPPED"
[ "${CI:-}" != true ]
