#!/bin/sh
# build.sh TOOLS SITE: builds the site into the folder SITE with what setup.sh has put into TOOLS. What
# the generator says is shown if it has a complaint.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
began=$(date +%s)

mkdir -p "$2"
site=$(cd "$2" && pwd)
if ! PYTHONDONTWRITEBYTECODE=1 "$1/venv/bin/python" -m mkdocs build --clean --strict \
    --config-file "$here/mkdocs.yml" --site-dir "$site" >"$1/build.log" 2>&1; then
    # Without what it says each time, some of it in colours.
    sed -e '/^INFO/d' -e '/\x1b\[/d' -e '/^$/d' "$1/build.log" >&2
    exit 1
fi
echo "site: $(find "$site" -name '*.html' | wc -l) pages in $2 ($(($(date +%s) - began)) s)"
