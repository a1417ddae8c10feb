#!/bin/sh
# Holds the documentation against the code where both must say the same:
# the lock order, the links between pages, one header comment per source file, the includes.
set -eu
bad=0
complain() {
    echo "$*" >&2
    bad=1
}

# The lock order: docs/architecture.md's table against common/lock_rank.h.
ranks=$(sed -n 's/.*X(RANK_[A-Z_]*, "\([a-z0-9_.]*\)").*/\1/p' common/lock_rank.h)
table=$(sed -n 's/^| [0-9]* | `\([a-z0-9_.]*\)` |.*/\1/p' docs/architecture.md)
[ -n "$ranks" ] || complain "no lock ranks found in common/lock_rank.h"
[ "$ranks" = "$table" ] || complain "the lock order in docs/architecture.md is not that of common/lock_rank.h:
$(printf '%s\n' "$table")
-- against --
$(printf '%s\n' "$ranks")"

# Links between pages lead somewhere.
for page in README.md docs/*.md; do
    dir=$(dirname "$page")
    for link in $(grep -oE '\]\([^)#: ]+\)' "$page" | sed 's/^](//; s/)$//'); do
        [ -e "$dir/$link" ] || complain "$page: no such page: $link"
    done
done

# Every source says under which licence it stands and opens with what it is.
for file in common/*.[ch] protocol/*.[ch] nsqd/*.[ch] test/unit/*.[ch] test/bench/*.[ch]; do
    head -1 "$file" | grep -q 'SPDX-License-Identifier: MIT' || complain "$file: no SPDX line"
    sed -n 2p "$file" | grep -q '^/\*' || complain "$file: does not open with what it is"
done

# Includes point downwards only, and never in a circle.
python3 test/docs/includes.py || bad=1

# The checks find what they are for.
log=$(python3 test/docs/test_checks.py 2>&1) || complain "$log"

[ $bad -eq 0 ] && echo "docs: ok"
exit $bad
