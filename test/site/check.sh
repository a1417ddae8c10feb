#!/bin/sh
# check.sh TOOLS SITE SHOTS: builds the site, and looks at it in a browser (check.py). What cannot be
# had for that is "not tested" (../skip.sh).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
make=${MAKE:-make}

# Tests that pass say nothing.
passes() {
    said=$("$python" "$here/$1" 2>&1) || { echo "$said" >&2; exit 1; }
}

if ! "$make" --silent --no-print-directory "$1/ready"; then
    exec "$here/../skip.sh" site "$(cat "$1/why")"
fi
export PYTHONDONTWRITEBYTECODE=1
python=$1/venv/bin/python
passes test_site.py
"$make" --no-print-directory site
command -v chromium >/dev/null || exec "$here/../skip.sh" site 'there is no chromium (make deps-site)'
passes test_check.py
exec "$python" "$here/check.py" "$2" "$3"
