#!/bin/sh
# Holds the documentation against the code where both must say the same:
# the lock order, the links between pages, one header comment per source file.
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

# Includes point downwards only.
grep -ln '#include "\(protocol\|nsqd\)/' common/*.[ch] && complain "common/ includes from above"
grep -ln '#include "nsqd/' protocol/*.[ch] && complain "protocol/ includes from above"

[ $bad -eq 0 ] && echo "docs: ok"
exit $bad
