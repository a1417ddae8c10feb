#!/bin/sh
# Holds the documentation against the code where both must say the same. Each check is a script,
# which says at its head what it is for; the last one shows that each finds its fault.
set -u
cd "$(dirname "$0")/../.." || exit 1
bad=0
for check in top includes heads threads locks bounds memory_order pages names metrics settings access go_map course \
    troubles version log_page; do
    python3 "test/docs/$check.py" || bad=1
done
for picture in way client threads chan select locks dashboard; do
    python3 "test/docs/${picture}_svg.py" --check || bad=1
done
# The flags of the code, and those of the page about them.
awk -v what=check -f docs/generate.awk common/version.h nsqd/core/nsqd_flags.c \
    docs/configuration.md docs/settings.md || bad=1
log=$(python3 test/docs/test_checks.py 2>&1) || {
    echo "$log" >&2
    bad=1
}

[ $bad -eq 0 ] && echo "docs: ok"
exit $bad
